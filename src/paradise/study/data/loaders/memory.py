"""Small images, held on the device as uint8 and augmented there: to decode them again for each epoch would take longer.

What is drawn for an epoch depends on its number and the seed alone, and is drawn for all processes, so that the images
of a step are the same however they are shared out.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from paradise.study.data.loaders import Batch, Loader
from paradise.study.data.manifest import Split
from paradise.study.data.prepare import read_pixels
from paradise.study.preset import Data, EvaluationData


class TrainingLoader:
    """Endless batches of this process's share of `split`, in an order and with shifts and flips that `seed` fixes.

    It goes on from `state`, what `state()` of an equal loader gave.
    """

    def __init__(
        self,
        split: Split,
        data: Data,
        batch: Batch,
        seed: int,
        threads: int,
        device: torch.device,
        state: dict[str, Any] | None = None,
    ):
        self.data, self.batch, self.seed, self.device = data, batch, seed, device
        self.batches = batch.steps(len(split)) * batch.passes  # in an epoch
        self.epoch: int = state["epoch"] if state else 0
        self.position: int = state["position"] if state else 0
        self.images = _hold(split, data, device, crop=False)
        self.labels = torch.tensor(split.labels, device=device)
        self._draw()

    def _draw(self) -> None:
        """The order, shifts and flips of an epoch."""
        augment, count = self.data.augment, len(self.labels)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(count, generator=generator)
        shifts = torch.randint(-augment.shift, augment.shift + 1, (2, count), generator=generator)
        flips = torch.rand(count, generator=generator) < (0.5 if augment.flip else 0)
        self.order, self.shifts, self.flips = order.to(self.device), shifts.to(self.device), flips.to(self.device)

    def __next__(self) -> tuple[Tensor, Tensor]:
        if self.position == self.batches:
            self.epoch, self.position = self.epoch + 1, 0
            self._draw()
        # Pass by pass, and in each process by process.
        begin = (self.position * self.batch.processes + self.batch.rank) * self.batch.images
        drawn = slice(begin, begin + self.batch.images)
        self.position += 1
        chosen = self.order[drawn]
        images = _shifted(self.images[chosen], self.shifts[:, drawn], self.flips[drawn], self.data.augment.shift)
        return _normalised(images, self.data), self.labels[chosen]

    def state(self) -> dict[str, Any]:
        """See `TrainingImages`."""
        return {"epoch": self.epoch, "position": self.position}


class EvaluationLoader:
    """This process's share of `split`, each image once, in its order; the last batch may be smaller."""

    def __init__(
        self,
        split: Split,
        data: EvaluationData,
        batch_size: int,
        threads: int,
        device: torch.device,
        rank: int = 0,
        processes: int = 1,
    ):
        share = slice(len(split) * rank // processes, len(split) * (rank + 1) // processes)
        self.data = data
        self.images = _hold(split, data, device, crop=True)[share].split(batch_size)
        self.labels = torch.tensor(split.labels, device=device)[share].split(batch_size)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in zip(self.images, self.labels):
            yield _normalised(images, self.data), labels


def _hold(split: Split, data: EvaluationData, device: torch.device, crop: bool) -> Tensor:
    """All images [N, H, W, 1 or 3] of `split`, uint8, at the size that the network sees."""
    size = data.image_size
    images = torch.from_numpy(read_pixels(split)).to(device)
    resized = (data.resize,) * 2 if crop else (size, size)
    if images.shape[1:3] != resized:
        # A part at a time: as floats they take many times the room.
        images = torch.cat([_resized(part, resized) for part in images.split(1000)])
    edge = (resized[0] - size) // 2
    return images[:, edge : edge + size, edge : edge + size]


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """`images` [N, H, W, C], uint8, at another size."""
    planes = F.interpolate(images.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
    return planes.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()


def _shifted(images: Tensor, shifts: Tensor, flips: Tensor, largest: int) -> Tensor:
    """`images` [B, S, S, C], each moved by its `shifts` [2, B], black behind it, then mirrored where `flips` [B]."""
    count, size = images.shape[:2]
    padded = F.pad(images, (0, 0, largest, largest, largest, largest))
    along = torch.arange(size, device=images.device)
    rows = shifts[0, :, None] + largest + along
    columns = shifts[1, :, None] + largest + torch.where(flips[:, None], along.flip(0), along)
    return padded[torch.arange(count, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _normalised(images: Tensor, data: EvaluationData) -> Tensor:
    """[B, H, W, 1 or 3] as uint8 → [B, 3, H, W] in memory as channels_last."""
    mean = torch.tensor([255 * value for value in data.mean], device=images.device)
    std = torch.tensor([255 * value for value in data.std], device=images.device)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


LOADER = Loader(TrainingLoader, EvaluationLoader)
