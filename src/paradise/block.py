"""The ParaDise block: parallel branches in training, one 3×3 convolution at inference.

"Parameter Disentanglement for Neural Networks". Each branch is a convolution without bias and a BatchNorm; PD-A sums
the branches, PD-B weights them per sample by a gate on the block's input (the paper's refinement module).
Every class with a `fuse()` method returns the plain module that computes the same at inference; `paradise.fuse`
applies them to a whole network.
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paradise.dynamic import DynamicConv2d
from paradise.kernels import conv_of, embed, fold
from paradise.names import BRANCHES
from paradise.normsum import norm_sum

GROUPS = 64


class ConvBN(nn.Sequential):
    """A convolution without bias and its BatchNorm; padding keeps the map's size at stride 1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: int,
        norm: type,
        groups: int = 1,
    ):
        padding = (kernel_size[0] // 2, kernel_size[1] // 2)
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
        super().__init__(OrderedDict(conv=conv, bn=norm(out_channels)))

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.convolve(x))

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution alone; of a kernel on a map that comes out as one pixel, only what does not meet padding."""
        height, width = x.shape[2:]
        if height > self.conv.stride[0] or width > self.conv.stride[1]:
            return self.conv(x)
        top, left = self.conv.padding
        seen = self.conv.weight[:, :, top : top + height, left : left + width]
        return F.conv2d(x, seen, stride=self.conv.stride, groups=self.conv.groups)

    def parts(self) -> list["ConvBN"]:
        return [self]


class Skeleton(nn.Module):
    """A 3×1 and a 1×3 convolution, each with its BatchNorm, summed: one branch."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: type):
        super().__init__()
        self.vertical = ConvBN(in_channels, out_channels, (3, 1), stride, norm)
        self.horizontal = ConvBN(in_channels, out_channels, (1, 3), stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.vertical(x) + self.horizontal(x)

    def parts(self) -> list[ConvBN]:
        return [self.vertical, self.horizontal]


class Gate(nn.Module):
    """The refinement module: x [B, C, H, W] → weights [B, n] that sum to 1 over the n branches."""

    def __init__(self, in_channels: int, branches: int):
        super().__init__()
        hidden = max(in_channels // 16, 1)
        self.reduce = nn.Linear(in_channels, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.expand = nn.Linear(hidden, branches)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        return self.expand(self.relu(self.reduce(pooled))).softmax(1)


class PDABlock(nn.Module):
    """PD-A: the sum of the branches. x [B, C_in, H, W] → [B, C_out, H/stride, W/stride].

    `branches` are taken in the order of `names.BRANCHES`; `norm` is the class of their BatchNorms. The group branch has
    64 groups, or where these do not divide the channels, which they always do in a ResNet, the most that do.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        branches: tuple[str, ...] = BRANCHES,
        norm: type[nn.BatchNorm2d] = nn.BatchNorm2d,
    ):
        super().__init__()
        groups = math.gcd(GROUPS, in_channels, out_channels)
        make = {
            "standard1": lambda: ConvBN(in_channels, out_channels, (3, 3), stride, norm),
            "standard2": lambda: ConvBN(in_channels, out_channels, (3, 3), stride, norm),
            "skeleton": lambda: Skeleton(in_channels, out_channels, stride, norm),
            "group": lambda: ConvBN(in_channels, out_channels, (3, 3), stride, norm, groups),
        }
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        self.branch_names = tuple(branch for branch in BRANCHES if branch in branches)
        for branch in self.branch_names:
            self.add_module(branch, make[branch]())

    def branches(self) -> list[nn.Module]:
        return [getattr(self, branch) for branch in self.branch_names]

    def forward(self, x: Tensor) -> Tensor:
        return self.combine(x)

    def combine(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """The sum of the branches, by weights [B, n] if they are given."""
        parts = self.parts()
        if all(_sums_norms(part.bn, x) for part in parts):
            shares = weights if weights is None else weights[:, self.owners()]
            return norm_sum([part.convolve(x) for part in parts], [part.bn for part in parts], shares)
        outputs = [branch(x) for branch in self.branches()]
        if weights is None:
            return sum(outputs)
        return sum(weights[:, i, None, None, None].to(y.dtype) * y for i, y in enumerate(outputs))

    def parts(self) -> list[ConvBN]:
        """The branches' convolutions with their BatchNorms: the skeleton has two."""
        return [part for branch in self.branches() for part in branch.parts()]

    def owners(self) -> list[int]:
        """For each of `parts()`, the number of the branch that it is of."""
        return [i for i, branch in enumerate(self.branches()) for _ in branch.parts()]

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        """One 3×3 convolution with a bias, from the BatchNorms' running statistics."""
        parts = self.parts()
        kernels, biases = zip(*(fold(part.conv, part.bn) for part in parts))
        dense = (embed(kernel, part.conv.groups) for kernel, part in zip(kernels, parts))
        return conv_of(sum(dense), sum(biases), self.standard1.conv)


class PDBBlock(PDABlock):
    """PD-B: Σ w_i(x) · branch_i(x), w from the gate. Shapes as PD-A's."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        branches: tuple[str, ...] = BRANCHES,
        norm: type[nn.BatchNorm2d] = nn.BatchNorm2d,
    ):
        super().__init__(in_channels, out_channels, stride, branches, norm)
        self.gate = Gate(in_channels, len(self.branch_names))

    def forward(self, x: Tensor) -> Tensor:
        return self.combine(x, self.gate(x))

    @torch.no_grad()
    def fuse(self) -> DynamicConv2d:
        """The branches' kernels and biases and the gate, from the BatchNorms' running statistics."""
        parts, owners = self.parts(), self.owners()
        kernels, biases = zip(*(fold(part.conv, part.bn) for part in parts))
        standards = sum(name.startswith("standard") for name in self.branch_names)
        dense = conv_of(torch.cat(kernels[:standards]), None, self.standard1.conv)
        others = [conv_of(kernel, None, part.conv) for kernel, part in zip(kernels[standards:], parts[standards:])]
        by_branch = [sum(b for b, owner in zip(biases, owners) if owner == i) for i in range(len(self.branch_names))]
        biases = torch.stack(by_branch).to(dense.weight.dtype)
        return DynamicConv2d(dense, others, owners[standards:], biases, self.gate)


def _sums_norms(norm: nn.Module, x: Tensor) -> bool:
    """Whether `norm_sum` can take the place of `norm` for a block's input x; on a GPU `torch.compile` does its work."""
    plain = type(norm) is nn.BatchNorm2d and norm.training and norm.momentum is not None
    same = x.dtype == norm.weight.dtype and not torch.is_autocast_enabled(x.device.type)
    return plain and same and x.device.type == "cpu" and not torch.compiler.is_compiling()
