"""Grad-CAM: where the networks of one depth look."""

from paradise.study.evidence.piece import Evidence
from paradise.study.evidence.rows import rows_of_18_layers, weights

EVIDENCE = Evidence(
    title="Grad-CAM",
    order=5,
    measured_by="paradise.study.evidence.measures.gradcam",
    shown_by="paradise.study.evidence.shows.gradcam",
    looks_at=lambda preset: weights(preset, rows_of_18_layers(preset)),
)
