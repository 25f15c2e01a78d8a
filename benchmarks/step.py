"""A training step of ResNet18 with each form of the block, as a multiple of the plain network's.

    python benchmarks/step.py [--size 224] [--batch 16] [--threads 2] [--rounds 9]

Beside the block as it is: branch by branch, as one would write it down; forms of it that lose; and what others train
with, RepVGG's block and ACNet's. Forward, backward and optimizer; on a GPU in bfloat16, without and with
`torch.compile`.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from common import MEMORY, Training, bars, interleaved, seconds, spread, write
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from paradise.block import ConvBN, PDABlock, PDBBlock
from paradise.kernels import embed, total
from paradise.norm_sum import norm_sum
from paradise.resnet import BasicBlock, Pair, ResNet, plain_conv3x3
from paradise.study.device import keep_memory, pick_device


def branch_by_branch(block: type[PDABlock]) -> type[PDABlock]:
    class BranchByBranch(block):
        def combine(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
            outputs = [total(part.bn(part.conv(x)) for part in branch.parts()) for branch in self.branches()]
            if weights is not None:
                outputs = [weights[:, i, None, None, None].to(y.dtype) * y for i, y in enumerate(outputs)]
            return total(outputs)

    return BranchByBranch


class StackedStandards(PDABlock):
    """The two Standard branches as one convolution."""

    def combine(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        both = torch.cat([self.standard1.conv.weight, self.standard2.conv.weight])
        stacked = F.conv2d(x, both, stride=self.stride, padding=1).chunk(2, 1)
        parts = self.parts()
        return norm_sum([*stacked, *(part.conv(x) for part in parts[2:])], [part.bn for part in parts])


class DenseGroup(PDABlock):
    """The group branch as a dense convolution."""

    def combine(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        *parts, group = self.parts()
        dense = F.conv2d(x, embed(group.conv.weight, group.conv.groups), stride=self.stride, padding=1)
        return norm_sum([*(part.conv(x) for part in parts), dense], [*(part.bn for part in parts), group.bn])


class ConvolutionsAlone(PDABlock):
    """What no form of the BatchNorms and the sum can do without: not the method, a bound."""

    def combine(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        return _Sum.apply(*(part.conv(x) for part in self.parts()))


class _Sum(torch.autograd.Function):
    """A copy of the first output stands for all, and the gradient goes to each."""

    @staticmethod
    def forward(ctx: Any, *outputs: Tensor) -> Tensor:
        ctx.count = len(outputs)
        return outputs[0].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return (gradient,) * ctx.count


class RepVGGBlock(nn.Module):
    """RepVGG's branches in training: 3×3, 1×1 and, where shapes allow, the identity, each with a BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.dense = ConvBN(in_channels, out_channels, (3, 3), stride, nn.BatchNorm2d)
        self.point = ConvBN(in_channels, out_channels, (1, 1), stride, nn.BatchNorm2d)
        self.identity = nn.BatchNorm2d(in_channels) if stride == 1 and in_channels == out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.point(x)
        return y if self.identity is None else y + self.identity(x)


def acnet_block(in_channels: int, out_channels: int, stride: int) -> PDABlock:
    return branch_by_branch(PDABlock)(in_channels, out_channels, stride, ("standard1", "skeleton"))


PLAIN = "ResNet18"
FORMS = {
    "PD-A": PDABlock,
    "PD-A, branch by branch": branch_by_branch(PDABlock),
    "PD-A, Standards stacked": StackedStandards,
    "PD-A, group dense": DenseGroup,
    "PD-A, convolutions alone": ConvolutionsAlone,
    "PD-B": PDBBlock,
    "PD-B, branch by branch": branch_by_branch(PDBBlock),
    "RepVGG's block": RepVGGBlock,
    "ACNet's block": acnet_block,
}


def network(form: str) -> ResNet:
    def pair(*shape: int) -> Pair:
        return plain_conv3x3(*shape) if form == PLAIN else (FORMS[form](*shape), nn.Identity())

    return ResNet(BasicBlock, (2, 2, 2, 2), 1000, pair)


def operations_of(model: nn.Module, size: int) -> int:
    """Of a forward pass, of which the backward pass has twice as many."""
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(2, 3, size, size))
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_memory()
    on_gpu = pick_device().type == "cuda"
    trainings, operations = {}, {}
    for compiled in (False, True) if on_gpu else (False,):
        for form in (PLAIN, *FORMS):
            label = f"{form}, compiled" if compiled else form
            if not compiled:
                operations[form] = operations_of(network(form), arguments.size)
            torch.manual_seed(0)
            trainings[label] = Training(network(form), arguments.size, arguments.batch, compiled)
    steps: dict[str, Callable] = {
        label: lambda training=training: 1000 * seconds(training.step) for label, training in trainings.items()
    }
    values = interleaved(steps, arguments.rounds)
    kept = {label: training.megabytes_kept() for label, training in trainings.items()}
    ratios, bounds, lines = {}, {}, []
    for label in trainings:
        plain = f"{PLAIN}, compiled" if label.endswith(", compiled") else PLAIN
        form = label.removesuffix(", compiled")
        ratios[label] = [a / b for a, b in zip(values[label], values[plain])]
        bounds[label] = operations[form] / operations[PLAIN]
        lines.append(
            {
                "network": label,
                "ms a step": spread(values[label]),
                "÷ ResNet18": f"{statistics.median(ratios[label]):.2f}",
                "by operations": f"{bounds[label]:.2f}",
                "MB kept": f"{kept[label]:.0f}",
                "÷ ResNet18 ": f"{kept[label] / kept[plain]:.2f}",
            }
        )
    name, shape = f"step-{arguments.size}", f"{arguments.size}×{arguments.size}, batch {arguments.batch}"
    write(
        name,
        f"A training step at {shape}",
        lines,
        [
            f"Median (range) of {arguments.rounds} interleaved rounds, {arguments.threads} threads; the ratio is the "
            f"median of the rounds'. MB kept: {MEMORY[pick_device().type]}, without parameters.",
            "By operations: multiply-accumulates as a multiple of ResNet18's; where a kernel is cut, what is left of "
            "it.",
            "Convolutions alone: without BatchNorms and sum, which is no network, but what none can do without.",
        ],
    )
    bars(name, f"training step at {shape}, ÷ ResNet18", ratios, bounds)


if __name__ == "__main__":
    main()
