"""A convolution that is fast on maps of a few positions as well.

On a processor, oneDNN's backward pass of a 3×3 convolution on a 1×1 or 2×2 map takes many times what the arithmetic
takes: most of the kernel's taps meet padding alone there. Such a map is convolved tap by tap here, each tap as one
matrix product over the positions that it meets.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from paradise.calls import is_ordinary

MAX_POSITIONS = 4  # of the outgoing map: with more, or with groups and more than one, oneDNN is as fast

# Of a tap: its row and column in the kernel, and where it meets the incoming and the outgoing map.
Where = tuple[slice, slice]
Tap = tuple[int, int, Where, Where]


class TapConv2d(nn.Conv2d):
    """`nn.Conv2d`, on a processor tap by tap where the outgoing map has at most `MAX_POSITIONS` positions.

    Equal to `nn.Conv2d` but for rounding. It is made, saved, loaded and exported as one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H/stride, W/stride]."""
        if not self._is_small(x):
            return super().forward(x)
        y: Tensor = _Taps.apply(x, self.weight, self.stride, self.groups)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias[:, None, None]

    def _is_small(self, x: Tensor) -> bool:
        """Whether x is to be convolved tap by tap."""
        if not is_ordinary(x) or x.dim() != 4 or not self._keeps_size():
            return False
        height, width = x.shape[2:]
        positions = -(-height // self.stride[0]) * -(-width // self.stride[1])
        return (
            0 < positions <= (MAX_POSITIONS if self.groups == 1 else 1)
            and x.shape[0] > 0
            and x.shape[1] == self.in_channels
            and x.dtype == self.weight.dtype
            and x.dtype in (torch.float32, torch.float64)
        )

    def _keeps_size(self) -> bool:
        """Whether at stride 1 the map would keep its size: padded with zeros by half of an odd, undilated kernel."""
        return (
            self.padding_mode == "zeros"
            and self.dilation == (1, 1)
            and all(side % 2 and padding == side // 2 for side, padding in zip(self.kernel_size, self.padding))
        )


class _Taps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], groups: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.groups = stride, groups
        x_BHWC, y_BHWC = x.permute(0, 2, 3, 1), None
        for row, column, incoming, outgoing in _taps(tuple(x.shape[2:]), tuple(weight.shape[2:]), stride):
            met = x_BHWC[:, *incoming]
            kernel = weight[:, :, row, column].unflatten(0, (groups, -1))
            product = _joined(_split(met, groups) @ kernel.mT).view(*met.shape[:3], len(weight))
            if y_BHWC is None:  # of the middle tap, which meets the whole outgoing map
                y_BHWC = product
            else:
                y_BHWC[:, *outgoing] += product
        assert y_BHWC is not None
        return y_BHWC.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradients are to have gradients themselves
            padding = [side // 2 for side in weight.shape[2:]]
            wanted = [*ctx.needs_input_grad[:2], False]
            gradients = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, ctx.stride, padding, (1, 1), False, (0, 0), ctx.groups, wanted
            )
            return *gradients[:2], None, None
        x_BHWC, y_BHWC = x.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
        taps = _taps(tuple(x.shape[2:]), tuple(weight.shape[2:]), ctx.stride)
        d_x = torch.zeros_like(x_BHWC) if ctx.needs_input_grad[0] else None
        new = weight.new_empty if len(taps) == weight[0, 0].numel() else weight.new_zeros
        d_weight = new(len(weight), *weight.shape[2:], weight.shape[1])
        for row, column, incoming, outgoing in taps:
            met, out = x_BHWC[:, *incoming], _split(y_BHWC[:, *outgoing], ctx.groups)
            kernel = weight[:, :, row, column].unflatten(0, (ctx.groups, -1))
            d_kernel = d_weight[:, row, column].unflatten(0, (ctx.groups, -1))
            torch.bmm(out.mT, _split(met, ctx.groups), out=d_kernel)
            if d_x is not None:
                d_x[:, *incoming] += _joined(out @ kernel).view_as(met)
        return None if d_x is None else d_x.permute(0, 3, 1, 2), d_weight.permute(0, 3, 1, 2), None, None


def _split(map_BHWC: Tensor, groups: int) -> Tensor:
    """[B, H, W, C] → [groups, B·H·W, C/groups]."""
    return map_BHWC.reshape(-1, groups, map_BHWC.shape[3] // groups).transpose(0, 1)


def _joined(products: Tensor) -> Tensor:
    """[groups, N, C/groups] → [N, C]."""
    return products.transpose(0, 1).flatten(1)


@cache
def _taps(size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int]) -> list[Tap]:
    """The taps that do not meet padding alone, the middle one first."""
    rows, columns = (list(_meetings(*sides)) for sides in zip(size, kernel, stride))
    taps = [(i, j, (y_in, x_in), (y_out, x_out)) for i, y_in, y_out in rows for j, x_in, x_out in columns]
    middle = tuple(side // 2 for side in kernel)
    return sorted(taps, key=lambda tap: tap[:2] != middle)


def _meetings(size: int, taps: int, stride: int) -> Iterator[tuple[int, slice, slice]]:
    """Along one axis: each tap that meets the map, with the incoming and the outgoing positions that it joins."""
    for tap in range(taps):
        offset = tap - taps // 2
        met = [out for out in range(-(-size // stride)) if 0 <= out * stride + offset < size]
        if met:
            first, last = met[0], met[-1]
            yield tap, slice(first * stride + offset, last * stride + offset + 1, stride), slice(first, last + 1)
