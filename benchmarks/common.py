"""What the benchmarks share: a folder of ImageNet's layout to read, interleaved rounds, and how results are written."""

import os
import random
import statistics
import time
from collections.abc import Callable, Hashable
from datetime import date
from pathlib import Path
from typing import TypeVar

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from paradise.study.data.prepare import prepare
from paradise.study.device import pick_device, use_precision
from paradise.study.files import write_text
from paradise.study.preset import Data, Preset
from paradise.study.provenance import begin_record

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "paradise"  # the same figures, the same file
RESULTS = Path(__file__).parent / "results"
IMAGENET = Path("config/imagenet.yaml")
Key = TypeVar("Key", bound=Hashable)
MEMORY = {"cuda": "the peak of a step's memory", "cpu": "what a forward pass keeps for the gradient"}


def imagenet_like(folder: Path, classes: int, train: int, val: int) -> Data:
    """A preset's `data` for JPEGs of ImageNet's usual size (500×375, some upright, some 110 KB), written into `folder`.

    They are crops of scikit-learn's two photographs, each with noise of its own, as many of each class as `train` and
    `val` say. What an earlier call wrote is kept.
    """
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    draw = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label in range(classes):
            for number in range(count):
                width, height = (500, 375) if draw.random() < 0.75 else (375, 500)
                photograph = photographs[int(draw.integers(2))]
                scale = draw.uniform(0.6, 1.0) * min(photograph.width / width, photograph.height / height)
                left = draw.uniform(0, photograph.width - scale * width)
                top = draw.uniform(0, photograph.height - scale * height)
                box = (left, top, left + scale * width, top + scale * height)
                pixels = np.asarray(photograph.resize((width, height), Image.Resampling.BICUBIC, box))
                noisy = (pixels + draw.normal(0, 9, pixels.shape)).clip(0, 255).astype(np.uint8)
                path = folder / "images" / split / f"n{label:08d}" / f"{number:05d}.JPEG"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(noisy).save(path, quality=95)
    expect = {"classes": classes, "train": classes * train, "val": classes * val}
    here = {"folder": str(folder / "prepared"), "source": str(folder / "images"), "expect": expect}
    data = Data.model_validate(Preset.load(IMAGENET).data.values() | here)
    prepare(data, "benchmark", os.cpu_count() or 1)
    return data


def interleaved(measures: dict[Key, Callable[[], float]], rounds: int) -> dict[Key, list[float]]:
    """What each of `measures` returned in each of `rounds`, all in turn and each round in another random order.

    A first round, in which everything warms up, does not count.
    """
    order = random.Random(0)
    values: dict[Key, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name in order.sample(list(measures), len(measures)):
            value = measures[name]()
            if number:
                values[name].append(value)
    return values


def seconds(call: Callable[[], object]) -> float:
    """How long `call` takes; a GPU is waited for."""
    _wait()
    began = time.perf_counter()
    call()
    _wait()
    return time.perf_counter() - began


class Training:
    """A network that takes steps on the same random batch; on a GPU in bfloat16."""

    def __init__(self, model: nn.Module, size: int, batch: int, compiled: bool):
        self.device = pick_device()
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.forward = torch.compile(self.model) if compiled else self.model
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        images = torch.randn(batch, 3, size, size, device=self.device)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(model.fc.out_features, (batch,), device=self.device)

    def loss(self) -> Tensor:
        with use_precision("bfloat16" if self.device.type == "cuda" else "float32", self.device):
            return F.cross_entropy(self.forward(self.images), self.labels)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def megabytes_kept(self) -> float:
        """As `MEMORY` says, without the network's own parameters."""
        if self.device.type == "cuda":
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            self.step()
            return (torch.cuda.max_memory_allocated() - before) / 1e6
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = self.loss()
        own = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        total = sum(size for place, size in kept.items() if place not in own)
        loss.backward()
        return total / 1e6


def spread(values: list[float], digits: int = 1) -> str:
    """Median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def write(name: str, title: str, lines: list[dict], notes: list[str]) -> None:
    """Writes `lines`, a dict for each, as `results/NAME.csv`, and with `notes` and the machine as `results/NAME.md`."""
    table = pd.DataFrame(lines)
    record = begin_record("benchmark", name, {}, {}, {}, [], pick_device())
    machine, versions = record["machine"], ", ".join(map(" ".join, record["versions"].items()))
    made = (
        f"{machine['gpu']}, " if machine["gpu"] else "",
        f"{machine['processor']} ({machine['instructions']}), {machine['cores']} cores; {versions}; ",
        f"commit {(record['commit'] or 'unknown')[:10]}; {date.today()}.",
    )
    text = table.to_markdown(index=False, disable_numparse=True)
    page = [f"# {title}", "", text, "", *(f"- {note}" for note in [*notes, "".join(made)])]
    write_text(RESULTS / f"{name}.csv", table.to_csv(index=False))
    write_text(RESULTS / f"{name}.md", "\n".join(page) + "\n")
    print(text)


def bars(name: str, title: str, ratios: dict[str, list[float]], bounds: dict[str, float]) -> None:
    """Draws `results/NAME.svg`: each form's median ratio with its range, and a mark where its bound is."""
    labels = list(ratios)[::-1]
    medians = [statistics.median(ratios[label]) for label in labels]
    spans = [[abs(statistics.median(ratios[label]) - end(ratios[label])) for label in labels] for end in (min, max)]
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.36 * len(labels)), layout="constrained")
    axes.barh(labels, medians, xerr=spans, color="#4c78a8", ecolor="#888888", height=0.65)
    for row, label in enumerate(labels):
        axes.text(max(ratios[label]), row, f"  {medians[row]:.2f}", va="center", fontsize=9)
        if label in bounds:
            axes.plot([bounds[label]] * 2, [row - 0.42, row + 0.42], color="#d62728", linewidth=2)
    if bounds:
        axes.plot([], [], color="#d62728", linewidth=2, label="bound by operations")
        axes.legend(loc="lower right", fontsize=8)
    axes.axvline(1, color="#888888", linewidth=0.8, linestyle=":")
    axes.set_xlabel(title)
    axes.set_xlim(0, 1.12 * max(map(max, ratios.values())))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
