"""Diversity: how alike the branches of trained networks are, and what their gates do."""

from paradise.study.evidence.piece import Evidence
from paradise.study.evidence.rows import rows_with_all_branches, weights

EVIDENCE = Evidence(
    title="Diversity of the branches, and of the gate's weights",
    order=3,
    measured_by="paradise.study.evidence.measures.diversity",
    shown_by="paradise.study.evidence.shows.diversity",
    looks_at=lambda preset: weights(preset, rows_with_all_branches(preset)),
)
