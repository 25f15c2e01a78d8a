"""The ParaDise block: parallel branches in training, one 3×3 convolution at inference.

"Parameter Disentanglement for Neural Networks". Each branch is a convolution without bias and a BatchNorm; PD-A sums
the branches, PD-B weights them per sample by a gate on the block's input (the paper's refinement module).
Every class with a `fuse()` method returns the plain module that computes the same at inference; `paradise.fuse`
applies them to a whole network.
"""

import math
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from paradise.calls import NoScript, is_bare
from paradise.dynamic import DynamicConv2d
from paradise.kernels import conv_of, embed, fold, total
from paradise.names import BRANCHES
from paradise.norm_sum import norm_sum, serves
from paradise.small_maps import TapConv2d

GROUPS = 64
Stride = int | tuple[int, int]


class ConvBN(nn.Sequential):
    """A convolution without bias and its BatchNorm; padding keeps the map's size at stride 1.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: Height and width, both odd.
        stride: The convolution's.
        norm: The class of the BatchNorm.
        groups: The convolution's.
    """

    conv: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: Stride,
        norm: type[nn.BatchNorm2d],
        groups: int = 1,
    ):
        padding = (kernel_size[0] // 2, kernel_size[1] // 2)
        conv = TapConv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
        super().__init__(OrderedDict(conv=conv, bn=norm(out_channels)))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H/stride, W/stride]."""
        return self.bn(self.conv(x))

    def parts(self) -> list["ConvBN"]:
        """The convolutions that it consists of: itself."""
        return [self]


class Skeleton(nn.Module):
    """A 3×1 and a 1×3 convolution, each with its BatchNorm, summed: one branch.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        stride: Of both convolutions.
        norm: The class of their BatchNorms.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Stride, norm: type[nn.BatchNorm2d]):
        super().__init__()
        self.vertical = ConvBN(in_channels, out_channels, (3, 1), stride, norm)
        self.horizontal = ConvBN(in_channels, out_channels, (1, 3), stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H/stride, W/stride]."""
        return self.vertical(x) + self.horizontal(x)

    def parts(self) -> list[ConvBN]:
        """The convolutions that it consists of, each with its BatchNorm."""
        return [self.vertical, self.horizontal]


class Gate(nn.Module):
    """The refinement module: pooling, a hidden layer of C_in/16 and a softmax over the branches.

    Args:
        in_channels: C_in.
        branches: n, how many branches there are.
    """

    def __init__(self, in_channels: int, branches: int):
        super().__init__()
        hidden = max(in_channels // 16, 1)
        self.reduce = nn.Linear(in_channels, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.expand = nn.Linear(hidden, branches)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → weights [B, n], which sum to 1 over the n branches."""
        pooled = x.mean((2, 3))
        return self.expand(self.relu(self.reduce(pooled))).softmax(1)


class PDABlock(NoScript, nn.Module):
    """PD-A: the sum of the branches.

    The group branch has 64 groups, or where these do not divide the channels, which they always do in a ResNet, the
    most that do.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        stride: Of every branch.
        branches: Names out of `paradise.names.BRANCHES`; they are taken in that order.
        norm: The class of their BatchNorms.
    """

    standard1: ConvBN

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: Stride = 1,
        branches: tuple[str, ...] = BRANCHES,
        norm: type[nn.BatchNorm2d] = nn.BatchNorm2d,
    ):
        super().__init__()
        groups = math.gcd(GROUPS, in_channels, out_channels)
        make: dict[str, Callable[[], nn.Module]] = {
            "standard1": lambda: ConvBN(in_channels, out_channels, (3, 3), stride, norm),
            "standard2": lambda: ConvBN(in_channels, out_channels, (3, 3), stride, norm),
            "skeleton": lambda: Skeleton(in_channels, out_channels, stride, norm),
            "group": lambda: ConvBN(in_channels, out_channels, (3, 3), stride, norm, groups),
        }
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        self.branch_names = tuple(branch for branch in BRANCHES if branch in branches)
        for branch in self.branch_names:
            self.add_module(branch, make[branch]())

    def branches(self) -> list[ConvBN | Skeleton]:
        """The branches, in the order of the gate's outputs."""
        return [getattr(self, branch) for branch in self.branch_names]

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H/stride, W/stride]."""
        return self.combine(x)

    def combine(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """The sum of the branches.

        Args:
            x: [B, C_in, H, W].
            weights: Of each branch for each image, [B, n]; all 1 by default.

        Returns:
            [B, C_out, H/stride, W/stride].
        """
        if self._is_bare():
            parts = self.parts()
            norms = [part.bn for part in parts]
            if serves(norms, x, weights):
                shares = weights if weights is None else weights[:, self.owners()]
                return norm_sum([part.conv(x) for part in parts], norms, shares)
        outputs = [branch(x) for branch in self.branches()]
        if weights is None:
            return total(outputs)
        return total(weights[:, i, None, None, None].to(y.dtype) * y for i, y in enumerate(outputs))

    def _is_bare(self) -> bool:
        """Whether to call the branches is to call the convolutions and BatchNorms of `parts()`, and nothing else."""
        branches = self.branches()
        return all(is_bare(branch, ConvBN, Skeleton) for branch in branches) and all(
            is_bare(part, ConvBN) for part in self.parts()
        )

    def parts(self) -> list[ConvBN]:
        """The branches' convolutions with their BatchNorms: the skeleton has two."""
        return [part for branch in self.branches() for part in branch.parts()]

    def owners(self) -> list[int]:
        """For each of `parts()`, the number of the branch that it is of."""
        return [i for i, branch in enumerate(self.branches()) for _ in branch.parts()]

    @torch.no_grad()
    def fuse(self) -> nn.Module:
        """Its inference form, from the BatchNorms' running statistics.

        Returns:
            One 3×3 `nn.Conv2d` with a bias: the sum of the branches' folded kernels and of their biases.
        """
        parts = self.parts()
        kernels, biases = zip(*(fold(part.conv, part.bn) for part in parts))
        dense = (embed(kernel, part.conv.groups) for kernel, part in zip(kernels, parts))
        return conv_of(total(dense), total(biases), self.standard1.conv)


class PDBBlock(PDABlock):
    """PD-B: Σ w_i(x) · branch_i(x), with w from the gate, the paper's refinement module.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        stride: Of every branch.
        branches: Names out of `paradise.names.BRANCHES`; they are taken in that order, and so are the gate's outputs.
        norm: The class of their BatchNorms.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: Stride = 1,
        branches: tuple[str, ...] = BRANCHES,
        norm: type[nn.BatchNorm2d] = nn.BatchNorm2d,
    ):
        super().__init__(in_channels, out_channels, stride, branches, norm)
        self.gate = Gate(in_channels, len(self.branch_names))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H/stride, W/stride]."""
        return self.combine(x, self.gate(x))

    @torch.no_grad()
    def fuse(self) -> DynamicConv2d:
        """Its inference form, from the BatchNorms' running statistics.

        Returns:
            A convolution whose kernel K(x) = Σ w_i K_i and bias b(x) = Σ w_i b_i are mixed for each image, with the
            branches' folded kernels K_i and biases b_i, and the gate.
        """
        parts, owners = self.parts(), self.owners()
        kernels, part_biases = zip(*(fold(part.conv, part.bn) for part in parts))
        standards = sum(name.startswith("standard") for name in self.branch_names)
        dense = conv_of(torch.cat(kernels[:standards]), None, self.standard1.conv)
        others = [conv_of(kernel, None, part.conv) for kernel, part in zip(kernels[standards:], parts[standards:])]
        by_branch = [
            total(bias for bias, owner in zip(part_biases, owners) if owner == i) for i in range(len(self.branch_names))
        ]
        biases = torch.stack(by_branch).to(dense.weight.dtype)
        return DynamicConv2d(dense, others, owners[standards:], biases, self.gate)
