"""ResNet as it is (He et al., 2015)."""

from paradise.resnet import Architecture

ARCHITECTURE = Architecture()
