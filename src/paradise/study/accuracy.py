"""Accuracy as integer hits."""

from torch import Tensor


def top5(logits: Tensor) -> Tensor:
    """Class indices [B, min(5, classes)] of the largest logits [B, classes], best first."""
    return logits.topk(min(5, logits.shape[1])).indices


def count_hits(logits: Tensor, labels: Tensor) -> tuple[int, int]:
    """How many of the labels [B] are the best, and among the five best, of the logits [B, classes]."""
    hits = top5(logits) == labels[:, None]
    return int(hits[:, 0].sum()), int(hits.sum())
