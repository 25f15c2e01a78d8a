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

from paradise.names import BRANCHES

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

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """The dense 3×3 kernel [C_out, C_in, 3, 3] and bias [C_out], float64, of this branch at inference."""
        kernel, bias = fold(self.conv, self.bn)
        return embed(kernel, self.conv.groups), bias


class Skeleton(nn.Module):
    """A 3×1 and a 1×3 convolution, each with its BatchNorm, summed: one branch."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: type):
        super().__init__()
        self.vertical = ConvBN(in_channels, out_channels, (3, 1), stride, norm)
        self.horizontal = ConvBN(in_channels, out_channels, (1, 3), stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.vertical(x) + self.horizontal(x)

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """As `ConvBN.kernel_and_bias`; the kernel is plus-shaped."""
        (vertical, bias_v), (horizontal, bias_h) = self.vertical.kernel_and_bias(), self.horizontal.kernel_and_bias()
        return vertical + horizontal, bias_v + bias_h


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
        return sum(branch(x) for branch in self.branches())

    @torch.no_grad()
    def fuse(self) -> nn.Conv2d:
        """One 3×3 convolution with a bias, from the BatchNorms' running statistics."""
        kernels, biases = zip(*(branch.kernel_and_bias() for branch in self.branches()))
        return conv_with_bias(sum(kernels), sum(biases), self.standard1.conv)


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
        weights = self.gate(x)[:, :, None, None, None]
        outputs = [branch(x) for branch in self.branches()]
        return sum(weights[:, i].to(output.dtype) * output for i, output in enumerate(outputs))

    @torch.no_grad()
    def fuse(self) -> "DynamicConv2d":
        """The branches' kernels and biases and the gate, from the BatchNorms' running statistics."""
        kernels, biases = zip(*(branch.kernel_and_bias() for branch in self.branches()))
        dtype = self.standard1.conv.weight.dtype
        return DynamicConv2d(torch.stack(kernels).to(dtype), torch.stack(biases).to(dtype), self.gate, self.stride)


class DynamicConv2d(nn.Module):
    """A fused PD-B block: a 3×3 convolution, its kernel and bias mixed per sample: K(x) = Σ w_i K_i, b(x) = Σ w_i b_i.

    kernels [n, C_out, C_in, 3, 3], biases [n, C_out]. One image: mix the kernels, then convolve once. A batch, where
    every image would need a kernel of its own: convolve with all n kernels, then mix the outputs. Both are exact. The
    output has the memory format of x, whatever the kernels': operators that read memory as it lies rely on it.
    """

    def __init__(self, kernels: Tensor, biases: Tensor, gate: Gate, stride: int):
        super().__init__()
        # [n · C_out, C_in, 3, 3], channels innermost in memory: so a mixed kernel is laid out for channels_last.
        self.kernels = nn.Parameter(kernels.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        self.biases = nn.Parameter(biases)
        self.gate = gate
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        weights = self.gate(x)
        bias = weights @ self.biases
        branches, channels = self.biases.shape
        if x.shape[0] == 1:
            flat = self.kernels.permute(0, 2, 3, 1).reshape(branches, -1)
            kernel = (weights @ flat).view(channels, 3, 3, -1).permute(0, 3, 1, 2)
            return _like(x, F.conv2d(x, kernel, bias[0], self.stride, padding=1))
        outputs = F.conv2d(x, self.kernels, None, self.stride, padding=1).unflatten(1, (branches, channels))
        mixed = sum(weights[:, i, None, None, None] * outputs[:, i] for i in range(branches))
        return _like(x, mixed + bias[:, :, None, None])


def _like(x: Tensor, y: Tensor) -> Tensor:
    return y.contiguous() if x.is_contiguous() else y


def fold(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias, float64, of `conv` and then `bn` in eval mode: K·γ/√(σ²+ε), β + (b − μ)·γ/√(σ²+ε)."""
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    shift = -bn.running_mean.double() if conv.bias is None else conv.bias.double() - bn.running_mean.double()
    return conv.weight.double() * scale[:, None, None, None], bn.bias.double() + shift * scale


def embed(kernel: Tensor, groups: int = 1) -> Tensor:
    """A 3×3, 3×1 or 1×3 kernel [C_out, C_in/groups, kh, kw] as a dense 3×3 one [C_out, C_in, 3, 3], zeros elsewhere."""
    out_channels, in_per_group, height, width = kernel.shape
    out_per_group = out_channels // groups
    rows, columns = slice(1 - height // 2, 2 + height // 2), slice(1 - width // 2, 2 + width // 2)
    dense = kernel.new_zeros(out_channels, in_per_group * groups, 3, 3)
    for group in range(groups):
        outputs = slice(group * out_per_group, (group + 1) * out_per_group)
        inputs = slice(group * in_per_group, (group + 1) * in_per_group)
        dense[outputs, inputs, rows, columns] = kernel[outputs]
    return dense


def conv_with_bias(kernel: Tensor, bias: Tensor, like: nn.Conv2d) -> nn.Conv2d:
    """A convolution with this kernel and bias, and the geometry, device and dtype of `like`."""
    conv = nn.Conv2d(
        like.in_channels, like.out_channels, kernel.shape[2:], like.stride, like.padding, groups=like.groups,
        device=like.weight.device, dtype=like.weight.dtype,
    )  # fmt: skip
    conv.weight.data.copy_(kernel)
    conv.bias.data.copy_(bias)
    return conv
