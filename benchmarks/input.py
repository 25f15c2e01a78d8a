"""Images a second of the training input: NVIDIA DALI beside a PyTorch `DataLoader` that does the same with Pillow.

    python benchmarks/input.py [--rounds 7]

All read 500×375 JPEGs, crop at random as the preset `imagenet` says, resize to 224×224 with triangular interpolation,
flip and normalise, into float32 batches of 32 in channels_last order: "plain" as PyTorch's own ImageNet example does,
by way of contiguous CHW tensors; "tuned" without leaving the order that Pillow decodes into.
"""

import argparse
import random
import statistics
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from common import imagenet_like, interleaved, seconds, spread, write
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from paradise.study.data.loaders import Batch
from paradise.study.data.loaders.dali import TrainingLoader
from paradise.study.data.manifest import Split
from paradise.study.data.prepare import prepared
from paradise.study.preset import Data

BATCH, BATCHES = 32, 12


class Photographs(Dataset):
    def __init__(self, split: Split, data: Data, tuned: bool):
        self.files, self.labels, self.data, self.tuned = split.files(), split.labels, data, tuned
        self.mean, self.std = (np.array(values, np.float32) for values in (data.mean, data.std))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            image = image.convert("RGB")
        size = self.data.image_size
        pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, self.crop(*image.size)))
        if random.random() < 0.5:
            pixels = pixels[:, ::-1]
        if self.tuned:
            return torch.from_numpy((pixels - 255 * self.mean) / (255 * self.std)), self.labels[index]
        tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous().float().div(255)
        mean, std = (torch.from_numpy(values).view(3, 1, 1) for values in (self.mean, self.std))
        return tensor.sub_(mean).div_(std), self.labels[index]

    def crop(self, width: int, height: int) -> tuple[float, float, float, float]:
        augment = self.data.augment
        for _ in range(10):
            area = width * height * random.uniform(*augment.area)
            aspect = random.uniform(*augment.aspect)
            w, h = (area * aspect) ** 0.5, (area / aspect) ** 0.5
            if w <= width and h <= height:
                left, top = random.uniform(0, width - w), random.uniform(0, height - h)
                return left, top, left + w, top + h
        return 0, 0, width, height


def endless(split: Split, data: Data, tuned: bool, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(
        Photographs(split, data, tuned),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
    )
    while True:
        for images, labels in loader:
            if tuned:
                yield images.permute(0, 3, 1, 2), labels
            else:
                yield images.to(memory_format=torch.channels_last), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    data = imagenet_like(Path("data/benchmark"), classes=10, train=100, val=10)
    split = prepared(data).train

    measures = {}
    for threads in (1, 2):
        dali = TrainingLoader(split, data, Batch(BATCH, 1, BATCH), 0, threads, torch.device("cpu"))
        for name, batches in (
            ("DALI", iter(lambda dali=dali: next(dali), None)),
            ("plain", endless(split, data, False, threads)),
            ("tuned", endless(split, data, True, threads)),
        ):
            measures[name, threads] = lambda batches=batches: _speed(batches)
    values = interleaved(measures, rounds)
    lines = []
    for threads in (1, 2):
        dali, plain, tuned = (values[name, threads] for name in ("DALI", "plain", "tuned"))
        lines.append(
            {
                "threads or workers": threads,
                "DALI": spread(dali, 0),
                "DataLoader, plain": spread(plain, 0),
                "DataLoader, tuned": spread(tuned, 0),
                "DALI, a core": f"{statistics.median(dali) / threads:.0f}",
                "DALI ÷ plain": f"{statistics.median(a / b for a, b in zip(dali, plain)):.2f}",
                "DALI ÷ tuned": f"{statistics.median(a / b for a, b in zip(dali, tuned)):.2f}",
            }
        )
    write(
        "input",
        "Input: images a second",
        lines,
        [
            f"Images a second, median (range) of {rounds} interleaved rounds of {BATCHES} batches of {BATCH}; the "
            "ratios are medians of the rounds'. Beside them runs only the loop that takes the batches: in a process of "
            "its own where a `DataLoader` has workers, so that one worker has a second core beside it and two have "
            "not.",
        ],
    )


def _speed(batches: Iterator[tuple[Tensor, Tensor]]) -> float:
    # What was prefetched since the last round is not of this one.
    for _ in islice(batches, 4):
        pass
    return BATCHES * BATCH / seconds(lambda: [None for _ in islice(batches, BATCHES)])


if __name__ == "__main__":
    main()
