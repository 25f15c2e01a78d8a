"""The paper's two attention baselines, put on the residual branch before the addition: SE and GE."""

import torch.nn.functional as F
from torch import Tensor, fx, nn

from paradise.errors import UserError


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation (Hu et al., 2018): each channel of an image is scaled by what all channels' means say.

    Args:
        channels: C; the hidden layer has a sixteenth of them.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        hidden = max(channels // 16, 1)
        self.reduce = nn.Linear(channels, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.expand = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] → [B, C, H, W]."""
        scale = self.expand(self.relu(self.reduce(self.pool(x).flatten(1)))).sigmoid()
        return x * scale[:, :, None, None]


class GatherExcite(nn.Module):
    """Gather-excite with parameters, GE-θ⁺ of extent 8 (Hu et al., 2018): each element is scaled by its surroundings.

    Gathers by three stride-2 depthwise convolutions. A stage is skipped once the map is 3×3 or smaller, so on small
    maps its parameters exist, and are counted, but do nothing.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gather = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
            )
            for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] → [B, C, H, W]."""
        if isinstance(x, fx.Proxy):
            raise UserError("torch.fx cannot follow a GatherExcite, whose stages go by the map; use paradise.export")
        context = x
        for i, stage in enumerate(self.gather):
            if context.shape[2] <= 3 or context.shape[3] <= 3:  # not `min`, which symbols cannot follow
                break
            context = stage(F.relu(context) if i else context)
        return x * F.interpolate(context, x.shape[2:], mode="nearest").sigmoid()
