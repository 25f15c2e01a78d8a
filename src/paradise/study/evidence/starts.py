"""What the trainings of the lottery start from. No torch here."""

from paradise.study.preset import Preset
from paradise.study.rows import Row

SOURCE = Row("pd_a", 18)  # whose branches hold the kernels
# Random weights; all but the 3×3 kernels trained; and these kernels too, made of the branches' in three ways.
STARTS = ("random", "rest", "maximum", "magnitude", "fused")


def log(start: str, seed: int) -> str:
    """The place below a study's results of a training's log."""
    return f"evidence/lottery/{start}/seed{seed}/log.csv"


def logs(preset: Preset) -> list[str]:
    """The logs of all trainings of a study's lottery."""
    return [log(start, seed) for start in STARTS for seed in preset.evidence_seeds]
