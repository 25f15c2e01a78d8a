"""GE-ResNet: gather-excite with parameters (Hu et al., 2018) on the residual branch."""

from paradise.attention import GatherExcite
from paradise.resnet import Architecture

ARCHITECTURE = Architecture(attention=GatherExcite)
