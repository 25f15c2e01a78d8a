"""From the trained form of a network to its inference form."""

import copy
from itertools import pairwise

import torch
from torch import nn

from paradise.block import conv_with_bias, fold
from paradise.resnet import BasicBlock, Bottleneck, ResNet


@torch.no_grad()
def fuse(model: nn.Module) -> nn.Module:
    """A new module in eval mode that computes what `model.eval()` computes; `model` is left untouched.

    Every ParaDise block becomes what its `fuse()` returns (PD-A: one convolution with a bias; PD-B: mixed kernels and
    the gate), and every BatchNorm that follows a convolution is folded into it. Always from the running statistics:
    a model in train mode is fused as if `eval()` had been called on it first.
    """
    return _fuse(copy.deepcopy(model)).eval()


def _fuse(module: nn.Module) -> nn.Module:
    if hasattr(module, "fuse"):
        return module.fuse()
    for name, child in module.named_children():
        module.register_module(name, _fuse(child))
    for conv, bn in _pairs(module):
        pair = module.get_submodule(conv), module.get_submodule(bn)
        if isinstance(pair[0], nn.Conv2d) and isinstance(pair[1], nn.BatchNorm2d):
            module.register_module(conv, conv_with_bias(*fold(*pair), like=pair[0]))
            module.register_module(bn, nn.Identity())
    return module


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of children that are applied one right after the other."""
    names = [name for name, _ in module.named_children()]
    if isinstance(module, nn.Sequential):
        return list(pairwise(names))
    if isinstance(module, (ResNet, BasicBlock, Bottleneck)):
        return [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
    return []
