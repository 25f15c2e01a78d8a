"""SE-ResNet: squeeze-and-excitation (Hu et al., 2018) on the residual branch."""

from paradise.attention import SqueezeExcite
from paradise.resnet import Architecture

ARCHITECTURE = Architecture(attention=SqueezeExcite)
