"""Kernels of convolutions: BatchNorms folded into them, small ones as parts of a dense 3×3 one."""

from torch import Tensor, nn


def fold(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias, float64, of `conv` and then `bn` in eval mode: K·γ/√(σ²+ε), β + (b − μ)·γ/√(σ²+ε)."""
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    shift = -bn.running_mean.double() if conv.bias is None else conv.bias.double() - bn.running_mean.double()
    return conv.weight.double() * scale[:, None, None, None], bn.bias.double() + shift * scale


def add_to(dense: Tensor, kernel: Tensor, groups: int, weight: Tensor) -> None:
    """Adds weight · kernel to where the kernel sits in the 3×3 one `dense` [C_out, 3, 3, C_in].

    kernel [C_out, C_in/groups, kh, kw]: in the middle column if it is 3×1, in the middle row if it is 1×3, of several
    groups on the diagonal.
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
    """A 3×3, 3×1 or 1×3 kernel [C_out, C_in/groups, kh, kw] as a dense 3×3 one [C_out, C_in, 3, 3], zeros elsewhere."""
    dense = kernel.new_zeros(len(kernel), 3, 3, kernel.shape[1] * groups)
    add_to(dense, kernel, groups, kernel.new_ones(()))
    return dense.permute(0, 3, 1, 2)


def conv_of(kernel: Tensor, bias: Tensor | None, like: nn.Conv2d) -> nn.Conv2d:
    """A convolution with this kernel [C_out, C_in/groups, kh, kw] and bias, and all else as in `like`."""
    conv = nn.Conv2d(
        like.in_channels, len(kernel), kernel.shape[2:], like.stride, like.padding, like.dilation, like.groups,
        bias is not None, like.padding_mode, like.weight.device, like.weight.dtype,
    )  # fmt: skip
    conv.weight.data.copy_(kernel)
    if bias is not None:
        conv.bias.data.copy_(bias)
    return conv
