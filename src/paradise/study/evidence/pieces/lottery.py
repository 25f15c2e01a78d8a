"""Lottery ticket: what a plain network learns from kernels that a trained PD-A's branches hold."""

from paradise.study.evidence.piece import Evidence
from paradise.study.evidence.starts import logs

EVIDENCE = Evidence(
    title="Lottery ticket",
    order=1,
    measured_by="paradise.study.evidence.measures.lottery",
    shown_by="paradise.study.evidence.shows.lottery",
    looks_at=logs,
    trains=True,
)
