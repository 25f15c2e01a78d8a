"""PD-B: ParaDise blocks whose branches are weighted by a gate on the block's input."""

from paradise.block import PDBBlock
from paradise.resnet import Architecture

ARCHITECTURE = Architecture(block=PDBBlock)
