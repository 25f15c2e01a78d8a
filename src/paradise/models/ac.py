"""AC-ResNet: asymmetric convolutions (Ding et al., 2019), a standard branch and the skeleton, summed."""

from paradise.block import PDABlock
from paradise.resnet import Architecture

ARCHITECTURE = Architecture(block=PDABlock, branches=("standard1", "skeleton"))
