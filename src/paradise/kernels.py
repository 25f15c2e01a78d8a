"""Kernels of convolutions: BatchNorms folded into them, small ones as parts of a dense 3×3 one, fresh ones."""

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor, nn


def total(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape, added one after the other."""
    return reduce(torch.add, tensors)


def fold(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias of `conv` and then `bn` in eval mode: K·γ/√(σ²+ε) and β + (b − μ)·γ/√(σ²+ε).

    Args:
        conv: A convolution, with a bias b or without.
        bn: A BatchNorm of its outputs, with weights and running statistics.

    Returns:
        The kernel [C_out, C_in/groups, kh, kw] and the bias [C_out], both float64.
    """
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    shift = -bn.running_mean.double() if conv.bias is None else conv.bias.double() - bn.running_mean.double()
    return conv.weight.double() * scale[:, None, None, None], bn.bias.double() + shift * scale


def add_to(dense: Tensor, kernel: Tensor, groups: int, weight: Tensor) -> None:
    """Adds weight · kernel, in place, to where the kernel sits in a dense 3×3 one.

    Args:
        dense: [C_out, 3, 3, C_in], channels innermost.
        kernel: [C_out, C_in/groups, kh, kw]: goes into the middle column if it is 3×1, into the middle row if it is
            1×3, and onto the diagonal of the channels if it is of several groups.
        groups: Those of the kernel.
        weight: One number, of no dimension.
    """
    small = kernel.permute(0, 2, 3, 1)
    for dimension in (1, 2):
        if small.shape[dimension] == 1:
            dense = dense.narrow(dimension, 1, 1)
    if groups > 1:
        dense = dense.unflatten(3, (groups, -1)).unflatten(0, (groups, -1)).diagonal(dim1=0, dim2=4)
        small = small.unflatten(0, (groups, -1)).movedim(0, -1)
    dense.addcmul_(small, weight)


def embed(kernel: Tensor, groups: int = 1) -> Tensor:
    """A small or grouped kernel as a dense 3×3 one, with zeros elsewhere.

    Args:
        kernel: [C_out, C_in/groups, kh, kw], 3×3, 3×1 or 1×3.
        groups: Those of the kernel.

    Returns:
        [C_out, C_in, 3, 3].
    """
    dense = kernel.new_zeros(len(kernel), 3, 3, kernel.shape[1] * groups)
    add_to(dense, kernel, groups, kernel.new_ones(()))
    return dense.permute(0, 3, 1, 2)


def conv_of(kernel: Tensor, bias: Tensor | None, like: nn.Conv2d) -> nn.Conv2d:
    """A convolution with a given kernel and bias, and all else as in another.

    Args:
        kernel: [C_out, C_in/groups, kh, kw].
        bias: [C_out]; None for a convolution without one.
        like: Has the stride, padding, dilation, groups, padding mode, device and number type.

    Returns:
        A new convolution with copies of the kernel and the bias.
    """
    conv = nn.utils.skip_init(  # which draws nothing from torch's random generators
        nn.Conv2d,
        like.in_channels,
        len(kernel),
        (kernel.shape[2], kernel.shape[3]),
        like.stride,
        like.padding,
        like.dilation,
        like.groups,
        bias is not None,
        like.padding_mode,
        device=like.weight.device,
        dtype=like.weight.dtype,
    )
    conv.weight.data.copy_(kernel)
    if conv.bias is not None and bias is not None:
        conv.bias.data.copy_(bias)
    return conv


def draw_kernels(network: nn.Module) -> None:
    """Draws the kernel of every convolution anew from torch's random generator: Kaiming normal, fan-out.

    Args:
        network: Its BatchNorms and linear layers stay as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
