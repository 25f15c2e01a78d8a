"""Convolutions on maps of a few positions: tap by tap against oneDNN, one by one and in whole training steps.

    python benchmarks/small_maps.py [--threads 2] [--rounds 9] [--batch 64]

From it comes `paradise.small_maps.MAX_POSITIONS`. `ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2` hold a processor
to AVX2; the results' names say which it was.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import Training, interleaved, seconds, write
from torch import Tensor

import paradise.small_maps
from paradise.small_maps import TapConv2d
from paradise.study.rows import Row

CHANNELS = 512
SHAPES = {  # kernel, stride, groups
    "3×3": ((3, 3), 1, 1),
    "3×3, stride 2": ((3, 3), 2, 1),
    "3×1": ((3, 1), 1, 1),
    "3×3, 64 groups": ((3, 3), 1, 64),
    "1×1": ((1, 1), 1, 1),
}
SIDES = (1, 2, 3, 4)  # of the outgoing map
ROWS = ("resnet18", "pd_a_resnet18", "pd_b_resnet18", "ac_resnet18", "resnet50", "pd_b_resnet50")
IMAGES = (32, 48, 64)
LIMITS = (0, 1, 4, 9, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    instructions = torch.backends.cpu.get_cpu_capability()
    notes = [f"Batch {arguments.batch}, float32, channels_last, {arguments.threads} threads, {instructions}."]
    name = f"small-maps-{instructions.lower()}-threads{arguments.threads}"
    lines = [convolution(shape, side, arguments) for shape in SHAPES for side in SIDES]
    write(f"{name}-convolutions", f"Forward and backward, {CHANNELS} → {CHANNELS} channels, ms", lines, notes)
    steps = [train(row, side, arguments) for side in IMAGES for row in ROWS]
    write(f"{name}-steps", "Training steps by the limit of positions, images/s", steps, notes)


def convolution(shape: str, side: int, arguments: argparse.Namespace) -> dict[str, str]:
    """One convolution both ways: a line."""
    kernel, stride, groups = SHAPES[shape]
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = TapConv2d(CHANNELS, CHANNELS, kernel, stride, padding, groups=groups, bias=False)
    conv.to(memory_format=torch.channels_last)
    x = torch.randn(arguments.batch, CHANNELS, side * stride, side * stride)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def taps() -> Tensor:
        return paradise.small_maps._Taps.apply(x, conv.weight, conv.stride, groups)

    def onednn() -> Tensor:
        return F.conv2d(x, conv.weight, None, conv.stride, padding, groups=groups)

    def both_ways(convolve: Callable[[], Tensor]) -> None:
        x.grad = conv.weight.grad = None
        y = convolve()
        y.backward(torch.ones_like(y))

    ways = {"oneDNN": onednn, "tap by tap": taps}
    measures = {name: lambda way=way: seconds(lambda: both_ways(way)) for name, way in ways.items()}
    times = interleaved(measures, arguments.rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    shown = {name: f"{1e3 * median:.2f}" for name, median in medians.items()}
    ratio = {"ratio": f"{medians['tap by tap'] / medians['oneDNN']:.2f}"}
    return {"convolution": shape, "outgoing map": f"{side}×{side}"} | shown | ratio


def train(row: str, side: int, arguments: argparse.Namespace) -> dict[str, str]:
    """Training steps of a row with each limit: a line."""
    training = Training(Row.parse(row).build(10), side, arguments.batch, compiled=False)

    def limited(limit: int) -> float:
        paradise.small_maps.MAX_POSITIONS = limit
        return seconds(training.step)

    times = interleaved({limit: lambda limit=limit: limited(limit) for limit in LIMITS}, arguments.rounds)
    speeds = {f"≤ {limit}": f"{arguments.batch / statistics.median(values):.0f}" for limit, values in times.items()}
    return {"row": row, "images": f"{side}×{side}"} | speeds


if __name__ == "__main__":
    main()
