"""What every loader of images has in common: how a step's images are shared out, and the loaders by name.

A loader is a module with a `TrainingLoader`, endless, whose `state()` a later one can go on from, and an
`evaluation_loader`. Batches are images [B, 3, H, W] (float32, channels_last, normalised) and labels [B] (int64), on the
run's device.
"""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from paradise.errors import UserError


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


def share_batch(recipe: dict, images: int, rank: int, processes: int) -> Batch:
    """The recipe's `batch_size` shared by so many processes, `device_batch_size` images at a time.

    Fewer processes make more passes, so the step is the same, and so is what each BatchNorm normalises over. Raises
    UserError where the numbers do not divide, or `images`, the size of the training set, do not fill a step.
    """
    size = recipe["batch_size"]
    per_pass = recipe.get("device_batch_size", max(size // processes, 1))
    passes, rest = divmod(size, per_pass * processes)
    if rest or not passes:
        raise UserError(
            f"batch_size {size} is no multiple of {processes} processes × {per_pass} images; change one of the three"
        )
    if size > images:
        raise UserError(f"batch_size {size} is more than the {images} training images")
    return Batch(size, passes, per_pass, rank, processes)


def loader(name: str) -> ModuleType:
    """The module of the preset's `loader`, imported only now: DALI may not be there."""
    return import_module(f"paradise.data.{name}")
