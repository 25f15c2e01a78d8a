"""Images a second of the training input: NVIDIA DALI beside a PyTorch `DataLoader` that does the same with Pillow.

    python benchmarks/input.py [--rounds 7]

Both read 500×375 JPEGs, crop at random as the preset `imagenet` says, resize to 224×224 with triangular interpolation,
flip and normalise, into float32 batches of 32 in channels_last order.
"""

import argparse
import random
import statistics
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from common import imagenet_like, interleaved, seconds, spread, write
from PIL import Image
from torch.utils.data import DataLoader, Dataset, default_collate

from paradise.data.dali import TrainingLoader
from paradise.data.loaders import Batch
from paradise.data.manifest import Split
from paradise.data.prepare import prepared

BATCH, BATCHES = 32, 12


class Photographs(Dataset):
    def __init__(self, split: Split, settings: dict):
        self.files, self.labels, self.settings = split.files(), split.labels, settings
        self.mean, self.std = (255 * np.array(settings[key], np.float32) for key in ("mean", "std"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        with Image.open(self.files[index]) as image:
            image = image.convert("RGB")
        size = self.settings["image_size"]
        pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, self.crop(*image.size)))
        if random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return torch.from_numpy((pixels - self.mean) / self.std), self.labels[index]

    def crop(self, width: int, height: int) -> tuple[float, float, float, float]:
        augment = self.settings["augment"]
        for _ in range(10):
            area = width * height * random.uniform(*augment["area"])
            aspect = random.uniform(*augment["aspect"])
            w, h = (area * aspect) ** 0.5, (area / aspect) ** 0.5
            if w <= width and h <= height:
                left, top = random.uniform(0, width - w), random.uniform(0, height - h)
                return left, top, left + w, top + h
        return 0, 0, width, height


def collate(samples):
    images, labels = default_collate(samples)
    return images.permute(0, 3, 1, 2), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    data = imagenet_like(Path("data/benchmark"), classes=10, train=100, val=10)
    split = prepared(data).train

    measures = {}
    for threads in (1, 2):
        dali = TrainingLoader(split, data, Batch(BATCH, 1, BATCH), 0, threads, torch.device("cpu"))
        pillow = DataLoader(
            Photographs(split, data), BATCH, shuffle=True, drop_last=True, num_workers=threads, collate_fn=collate,
            persistent_workers=True,
        )  # fmt: skip
        endless = (batch for _ in iter(int, 1) for batch in pillow)
        for name, batches in (("DALI", dali), ("DataLoader and Pillow", endless)):
            measures[name, threads] = lambda batches=batches: _speed(batches)
    values = interleaved(measures, rounds)
    lines = []
    for threads in (1, 2):
        dali, pillow = values["DALI", threads], values["DataLoader and Pillow", threads]
        lines.append({
            "threads or workers": threads,
            "DALI images/s": spread(dali),
            "DataLoader and Pillow images/s": spread(pillow),
            "DALI, a core": f"{statistics.median(dali) / threads:.0f}",
            "ratio": f"{statistics.median(a / b for a, b in zip(dali, pillow)):.2f}",
        })  # fmt: skip
    write("input", "Input: images a second", lines, [
        f"Median (range) of {rounds} interleaved rounds of {BATCHES} batches of {BATCH}; the ratio is the median "
        "of the rounds'. Beside them only the loop that takes the batches.",
    ])  # fmt: skip


def _speed(batches) -> float:
    # What was prefetched since the last round is not of this one.
    for _ in islice(batches, 4):
        pass
    return BATCHES * BATCH / seconds(lambda: [None for _ in islice(batches, BATCHES)])


if __name__ == "__main__":
    main()
