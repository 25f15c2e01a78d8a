"""Kernels of convolutions: BatchNorms folded into them, small ones seated in a dense 3×3 one."""

from torch import Tensor, nn


def fold(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias, float64, of `conv` and then `bn` in eval mode: K·γ/√(σ²+ε), β + (b − μ)·γ/√(σ²+ε)."""
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    shift = -bn.running_mean.double() if conv.bias is None else conv.bias.double() - bn.running_mean.double()
    return conv.weight.double() * scale[:, None, None, None], bn.bias.double() + shift * scale


def seat(dense: Tensor, size: tuple[int, int], groups: int = 1) -> Tensor:
    """Where in the kernel `dense` [C_out, C_in, 3, 3] a smaller one sits: a view of it.

    The middle column for a `size` of 3×1, the middle row for 1×3; for `groups`, [groups, C_out/groups, C_in/groups, …],
    the blocks on the diagonal.
    """
    rows, columns = (slice(1 - side // 2, 2 + side // 2) for side in size)
    inner = dense[:, :, rows, columns]
    if groups == 1:
        return inner
    return inner.unflatten(1, (groups, -1)).unflatten(0, (groups, -1)).diagonal(dim1=0, dim2=2).movedim(-1, 0)


def embed(kernel: Tensor, groups: int = 1) -> Tensor:
    """A 3×3, 3×1 or 1×3 kernel [C_out, C_in/groups, kh, kw] as a dense 3×3 one [C_out, C_in, 3, 3], zeros elsewhere."""
    out_channels, in_per_group, *size = kernel.shape
    dense = kernel.new_zeros(out_channels, in_per_group * groups, 3, 3)
    place = seat(dense, size, groups)
    place.copy_(kernel.view(place.shape))
    return dense


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
