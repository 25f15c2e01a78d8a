"""Boxes by which a second stage is calibrated, compared and timed, whatever the network itself would propose."""

import torch
from torch import Tensor


def some_boxes(count: int, side: int) -> Tensor:
    """Boxes of many sizes, always the same.

    Args:
        count: How many.
        side: Height and width, in pixels, of the image that they lie in.

    Returns:
        [count, 4], in pixels: left, top, right, bottom.
    """
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(0)) * side
    return torch.cat((corners.amin(1), corners.amax(1) + 1), 1).clamp(max=side)
