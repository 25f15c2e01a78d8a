"""Over-parameterisation: what parallel layers are worth in perceptrons, which are fused to one size."""

from paradise.study.evidence.piece import Evidence

EVIDENCE = Evidence(
    title="Over-parameterisation",
    order=2,
    measured_by="paradise.study.evidence.measures.perceptrons",
    shown_by="paradise.study.evidence.shows.perceptrons",
    trains=True,
)
