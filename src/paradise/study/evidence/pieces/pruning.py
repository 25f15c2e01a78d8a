"""Pruning the branches: what a trained network loses with one of them."""

from paradise.study.evidence.piece import Evidence
from paradise.study.evidence.rows import rows_with_all_branches, weights

EVIDENCE = Evidence(
    title="Pruning the branches",
    order=4,
    measured_by="paradise.study.evidence.measures.pruning",
    shown_by="paradise.study.evidence.shows.pruning",
    looks_at=lambda preset: weights(preset, rows_with_all_branches(preset)),
)
