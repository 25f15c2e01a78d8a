"""The ResNets of the paper (He et al., 2015, in torchvision's "v1.5" arrangement), with a choice of 3×3 convolution.

State-dict keys of the plain networks are torchvision's, so that its weights load. `conv3x3` makes the pair
(convolution, BatchNorm) of every 3×3 convolution inside the residual blocks; a ParaDise block ends in its branches'
BatchNorms, so its pair is (block, Identity), and so is that of a fused network.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from paradise.calls import NoScript
from paradise.kernels import draw_kernels
from paradise.names import BRANCHES, WIDTH
from paradise.small_maps import TapConv2d

Pair = tuple[nn.Module, nn.Module]
MakeConv3x3 = Callable[[int, int, int], Pair]  # of C_in, C_out and the stride
MakeAttention = Callable[[int], nn.Module]  # of the number of channels


def plain_conv3x3(in_channels: int, out_channels: int, stride: int | tuple[int, int]) -> Pair:
    """The plain ResNet's 3×3 convolution and its BatchNorm.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        stride: The convolution's.

    Returns:
        The two modules.
    """
    conv = TapConv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> TapConv2d:
    """A 1×1 convolution without bias.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        stride: The convolution's.

    Returns:
        The convolution.
    """
    return TapConv2d(in_channels, out_channels, 1, stride, bias=False)


def downsample(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The shortcut where the residual branch changes the shape.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        stride: The residual branch's.

    Returns:
        A 1×1 convolution and its BatchNorm; None where the shape stays.
    """
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: the residual block of ResNet18.

    Args:
        in_channels: C_in.
        channels: C_out.
        stride: Of the first convolution.
        conv3x3: Makes both convolutions.
        attention: Makes what the residual branch ends in.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, conv3x3: MakeConv3x3, attention: MakeAttention):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(in_channels, channels, stride)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv3x3(channels, channels, 1)
        self.attention = attention(channels)
        self.downsample = downsample(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H/stride, W/stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.attention(self.bn2(self.conv2(y)))
        return self.relu(y + shortcut)


class Bottleneck(nn.Module):
    """A 1×1, a 3×3 and a 1×1 convolution and a shortcut: the residual block of ResNet50.

    Args:
        in_channels: C_in.
        channels: Those of the 3×3 convolution, a fourth of C_out.
        stride: Of the 3×3 convolution.
        conv3x3: Makes the 3×3 convolution.
        attention: Makes what the residual branch ends in.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, conv3x3: MakeConv3x3, attention: MakeAttention):
        super().__init__()
        self.conv1, self.bn1 = conv1x1(in_channels, channels), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv3x3(channels, channels, stride)
        self.conv3, self.bn3 = conv1x1(channels, channels * 4), nn.BatchNorm2d(channels * 4)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention(channels * 4)
        self.downsample = downsample(in_channels, channels * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C_in, H, W] → [B, C_out, H/stride, W/stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.attention(self.bn3(self.conv3(y)))
        return self.relu(y + shortcut)


class ResNet(NoScript, nn.Module):
    """A residual network for images.

    Args:
        block: The class of its residual blocks.
        depths: How many of them each of the four stages has.
        num_classes: How many logits it gives.
        conv3x3: Makes the 3×3 convolutions of the residual blocks.
        attention: Makes what their residual branches end in.
        width: Channels of the first stage; the others have two, four and eight times as many.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
        conv3x3: MakeConv3x3 = plain_conv3x3,
        attention: MakeAttention = nn.Identity,
        width: int = WIDTH,
    ):
        super().__init__()
        self.conv1 = TapConv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = width
        for stage, depth in enumerate(depths):
            channels = width * 2**stage
            blocks: list[nn.Module] = []
            for i in range(depth):
                blocks.append(block(in_channels, channels, 2 if stage and not i else 1, conv3x3, attention))
                in_channels = channels * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)
        draw_kernels(self)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 3, H, W] → logits [B, num_classes]."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


# By depth: the class of the residual blocks, and how many of them each stage has.
STAGES: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


@dataclass(frozen=True)
class Architecture:
    """What one kind of network has in place of the plain ResNet's parts.

    Attributes:
        block: Made of (C_in, C_out, stride, branches) in place of each 3×3 convolution and its BatchNorm.
        branches: Those of every block, unless `build` is given others.
        attention: Made of the number of channels, on the residual branch.
    """

    block: Callable[[int, int, int, tuple[str, ...]], nn.Module] | None = None
    branches: tuple[str, ...] = BRANCHES
    attention: MakeAttention = nn.Identity

    def build(
        self, depth: int, num_classes: int, branches: tuple[str, ...] | None = None, width: int = WIDTH
    ) -> ResNet:
        """A network with fresh weights from torch's random generator.

        Args:
            depth: A key of `STAGES`.
            num_classes: How many logits it gives.
            branches: Take the place of the kind's own.
            width: Channels of the first stage.

        Returns:
            The network.
        """
        make_block = self.block

        def conv3x3(in_channels: int, out_channels: int, stride: int) -> Pair:
            if make_block is None:
                return plain_conv3x3(in_channels, out_channels, stride)
            return make_block(in_channels, out_channels, stride, branches or self.branches), nn.Identity()

        return ResNet(*STAGES[depth], num_classes, conv3x3, self.attention, width)
