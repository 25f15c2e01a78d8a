"""Latency of fused networks in each form, and as exported, as a multiple of the plain ResNet's in the same form.

    python benchmarks/latency.py [--threads 1] [--batch 1] [--rounds 40] [--no-export]

224×224, 1000 classes. Beside PD-B as it is: four dense kernels, mixed by one product for an image and convolved one
after the other for a batch, as one would write it down; and its two forms, and one grouped convolution, at any batch.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from common import bars, interleaved, seconds, spread, write
from torch import Tensor, nn

from paradise.dynamic import DynamicConv2d
from paradise.exporter import export, open_onnx, open_program
from paradise.fusion import fuse
from paradise.kernels import total
from paradise.structure import replace, slots
from paradise.study.rows import Row

KINDS = ("plain", "pd_a", "pd_b")


class FourDense(nn.Module):
    """A dense kernel for each branch; mixed for one image, else all convolved and the outputs mixed."""

    def __init__(self, block: DynamicConv2d):
        super().__init__()
        kernels = torch.cat([block.kernel(only) for only in torch.eye(len(block.biases))])
        self.kernels = nn.Parameter(kernels.contiguous(memory_format=torch.channels_last))
        self.block, self.stride = block, block.standards.stride

    def forward(self, x: Tensor) -> Tensor:
        weights = self.block.gate(x)
        biases = weights @ self.block.biases
        branches, channels = self.block.biases.shape
        if len(x) == 1:
            flat = self.kernels.permute(0, 2, 3, 1).reshape(branches, -1)
            kernel = (weights @ flat).view(channels, 3, 3, -1).permute(0, 3, 1, 2)
            return F.conv2d(x, kernel, biases[0], self.stride, padding=1)
        outputs = F.conv2d(x, self.kernels, None, self.stride, padding=1).unflatten(1, (branches, channels))
        mixed = total(weights[:, i, None, None, None] * outputs[:, i] for i in range(branches))
        return mixed + biases[:, :, None, None]


class Grouped(nn.Module):
    """All images at once: a kernel each, as one grouped convolution."""

    def __init__(self, block: DynamicConv2d):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        weights, block = self.block.gate(x), self.block
        kernels = torch.cat([block.kernel(weight) for weight in weights])
        y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels, None, block.standards.stride, 1, groups=len(x))
        y = y.view(len(x), -1, *y.shape[2:]) + (weights @ block.biases)[:, :, None, None]
        return y.contiguous(memory_format=torch.channels_last)


class OneForm(nn.Module):
    """The block in a form whatever its input."""

    def __init__(self, block: DynamicConv2d, form: Callable[[DynamicConv2d, Tensor, Tensor], Tensor]):
        super().__init__()
        self.block, self.form = block, form

    def forward(self, x: Tensor) -> Tensor:
        return self.form(self.block, x, self.block.gate(x))


FORMS = {
    "four dense kernels": FourDense,
    "a kernel for each image": lambda block: OneForm(block, DynamicConv2d.mixed),
    "all branches": lambda block: OneForm(block, DynamicConv2d.separate),
    "one grouped convolution": Grouped,
}


def with_form(model: nn.Module, form: Callable[[DynamicConv2d], nn.Module]) -> nn.Module:
    model = fuse(model)  # a copy
    for block, places in slots(model).items():
        if isinstance(block, DynamicConv2d):
            replace(places, form(block))
    return model.to(memory_format=torch.channels_last)


def exported(model: nn.Module, suffix: str, threads: int, folder: Path) -> Callable[[Tensor], object]:
    path = folder / f"network{suffix}"
    export(model, path, 224, 20)
    return open_program(path) if suffix == ".pt2" else open_onnx(path, threads)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--no-export", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = torch.randn(arguments.batch, 3, 224, 224)
    last = images.contiguous(memory_format=torch.channels_last)
    # PD-B's blocks take their form for one image by themselves: only one way of it is another.
    forms = {"four dense kernels": FourDense} if arguments.batch == 1 else FORMS
    calls: dict[str, Callable[[], float]] = {}
    plain_of: dict[str, str] = {}

    def add(label: str, plain: str, network: Callable[[Tensor], object], x: Tensor) -> None:
        calls[label], plain_of[label] = (lambda: 1000 * seconds(lambda: network(x))), plain

    for depth in (18, 50):
        for row in (Row(kind, depth) for kind in KINDS):
            torch.manual_seed(0)
            name, plain = row.label, row.plain.label
            model = fuse(row.build(1000))
            add(name, plain, fuse(model).to(memory_format=torch.channels_last), last)
            if row.kind == "pd_b":
                for form, make in forms.items():
                    add(f"{name}, {form}", plain, with_form(model, make), last)
            if depth == 18 and not arguments.no_export:
                for suffix, what in ((".onnx", "ONNX Runtime"), (".pt2", "torch.export")):
                    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False):
                        network = exported(model, suffix, arguments.threads, Path(folder))
                    add(f"{name}, {what}", f"{plain}, {what}", network, images)

    values = interleaved(calls, arguments.rounds)
    ratios = {
        label: [a / b for a, b in zip(values[label], values[plain_of[label]])]
        for label in calls
        if label != plain_of[label]
    }
    lines = [
        {
            "network": label,
            "ms": spread(values[label]),
            "÷ ResNet": f"{statistics.median(ratios[label]):.3f}" if label in ratios else "1",
        }
        for label in calls
    ]
    name = f"latency-{arguments.batch}-threads{arguments.threads}"
    shape = f"batch {arguments.batch}, 224×224, threads: {arguments.threads}"
    write(
        name,
        f"Latency of fused networks: {shape}",
        lines,
        [
            f"Median (range) of {arguments.rounds} interleaved rounds; the ratio, the median of the rounds', is to the "
            "plain ResNet of the same depth in the same way of running it.",
        ],
    )
    bars(name, f"latency, {shape}, ÷ ResNet", ratios, {})


if __name__ == "__main__":
    main()
