"""PD-A: ParaDise blocks whose branches are summed."""

from paradise.block import PDABlock
from paradise.resnet import Architecture

ARCHITECTURE = Architecture(block=PDABlock)
