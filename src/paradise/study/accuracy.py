"""Accuracy as integer hits, and how the outputs of a network's two forms differ."""

from torch import Tensor

from paradise.errors import UserError


def top5(logits: Tensor) -> Tensor:
    """Class indices [B, min(5, classes)] of the largest logits [B, classes], best first."""
    return logits.topk(min(5, logits.shape[1])).indices


def count_hits(logits: Tensor, labels: Tensor) -> tuple[int, int]:
    """How many of the labels [B] are the best, and among the five best, of the logits [B, classes]."""
    hits = top5(logits) == labels[:, None]
    return int(hits[:, 0].sum()), int(hits.sum())


class Differences:
    """The largest output of the trained form, and the largest difference of the fused one from it, over all batches.

    Args:
        of: What the outputs are of, for messages.
    """

    def __init__(self, of: str):
        self.of = of
        self.largest = self.difference = 0.0

    def add(self, trained: Tensor, fused: Tensor) -> None:
        """Takes the outputs of one batch into account.

        Raises:
            UserError: One of them holds NaN or infinity, with which nothing can be compared.
        """
        for form, outputs in (("trained", trained), ("fused", fused)):
            if not outputs.isfinite().all():
                raise UserError(f"{self.of}: the {form} form gives NaN or infinity; its weights cannot be evaluated")
        self.largest = max(self.largest, float(trained.abs().max()))
        self.difference = max(self.difference, float((trained - fused).abs().max()))

    def values(self) -> dict[str, float]:
        """As a record has them.

        Raises:
            UserError: The trained form gave nothing but zeros.
        """
        if self.largest == 0:
            raise UserError(f"{self.of}: the trained form gives nothing but zeros; its weights cannot be evaluated")
        relative = self.difference / self.largest
        return {"largest": self.largest, "difference": self.difference, "relative": relative}
