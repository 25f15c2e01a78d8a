"""Loaders of images: one module each, which exports its `LOADER`; and how a step's images are shared out.

Batches are images [B, 3, H, W] (float32, channels_last, normalised) and labels [B] (int64), on the run's device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from paradise.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from paradise.study.data.manifest import Split
    from paradise.study.preset import Data, EvaluationData, Recipe


class TrainingImages(Protocol):
    """Endless batches of one process's share of a split, in an order and with crops that a seed fixes."""

    def __next__(self) -> tuple[Tensor, Tensor]: ...

    def state(self) -> dict[str, Any]:
        """Where it is, as plain values and tensors: an equal one that is made with it goes on from there."""


class EvaluationImages(Protocol):
    """Batches of one process's share of a split, each image once, in its order; the last may be smaller."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class OpenTraining(Protocol):
    """Opens a split for training."""

    def __call__(
        self,
        split: Split,
        data: Data,
        batch: Batch,
        seed: int,
        threads: int,
        device: torch.device,
        state: dict[str, Any] | None = None,
    ) -> TrainingImages: ...


class OpenEvaluation(Protocol):
    """Opens a split for evaluation."""

    def __call__(
        self,
        split: Split,
        data: EvaluationData,
        batch_size: int,
        threads: int,
        device: torch.device,
        rank: int = 0,
        processes: int = 1,
    ) -> EvaluationImages: ...


@dataclass(frozen=True)
class Loader:
    """A way to load images."""

    training: OpenTraining
    evaluation: OpenEvaluation


@dataclass(frozen=True)
class Batch:
    """The `size` images of one step: each of `processes` makes `passes` forward passes of `images` images."""

    size: int
    passes: int
    images: int
    rank: int = 0
    processes: int = 1

    def steps(self, images: int) -> int:
        """Steps in an epoch over so many images; what does not fill a step is left out."""
        return images // self.size


def share_batch(recipe: Recipe, images: int, rank: int, processes: int) -> Batch:
    """The recipe's `batch_size` shared by so many processes, `device_batch_size` images at a time.

    Fewer processes make more passes, so the step is the same, and so is what each BatchNorm normalises over. Raises
    UserError where the numbers do not divide, or `images`, the size of the training set, do not fill a step.
    """
    size = recipe.batch_size
    per_pass = recipe.device_batch_size or max(size // processes, 1)
    passes, rest = divmod(size, per_pass * processes)
    if rest or not passes:
        raise UserError(
            f"batch_size {size} is no multiple of {processes} processes × {per_pass} images; change one of the three"
        )
    if size > images:
        raise UserError(f"batch_size {size} is more than the {images} training images")
    return Batch(size, passes, per_pass, rank, processes)
