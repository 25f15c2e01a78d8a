"""The ResNets of the paper (He et al., 2015, in torchvision's "v1.5" arrangement), with a choice of 3×3 convolution.

State-dict keys of the plain networks are torchvision's, so that its weights load. `conv3x3` makes the pair
(convolution, BatchNorm) of every 3×3 convolution inside the residual blocks; a ParaDise block ends in its branches'
BatchNorms, so its pair is (block, Identity), and so is that of a fused network.
"""

from collections.abc import Callable

from torch import Tensor, nn

Pair = tuple[nn.Module, nn.Module]


def plain_conv3x3(in_channels: int, out_channels: int, stride: int) -> Pair:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    return conv, nn.BatchNorm2d(out_channels)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)


def downsample(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The shortcut where the residual branch changes the shape, else None."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, conv3x3: Callable, attention: Callable):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(in_channels, channels, stride)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv3x3(channels, channels, 1)
        self.attention = attention(channels)
        self.downsample = downsample(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.attention(self.bn2(self.conv2(y)))
        return self.relu(y + shortcut)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, conv3x3: Callable, attention: Callable):
        super().__init__()
        self.conv1, self.bn1 = conv1x1(in_channels, channels), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv3x3(channels, channels, stride)
        self.conv3, self.bn3 = conv1x1(channels, channels * 4), nn.BatchNorm2d(channels * 4)
        self.relu = nn.ReLU(inplace=True)
        self.attention = attention(channels * 4)
        self.downsample = downsample(in_channels, channels * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.attention(self.bn3(self.conv3(y)))
        return self.relu(y + shortcut)


class ResNet(nn.Module):
    """x [B, 3, H, W] → logits [B, num_classes]."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        num_classes: int = 1000,
        conv3x3: Callable[[int, int, int], Pair] = plain_conv3x3,
        attention: Callable[[int], nn.Module] = nn.Identity,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = 64
        for stage, depth in enumerate(depths):
            channels, blocks = 64 * 2**stage, []
            for i in range(depth):
                blocks.append(block(in_channels, channels, 2 if stage and not i else 1, conv3x3, attention))
                in_channels = channels * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))
