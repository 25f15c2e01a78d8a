"""From the trained form of a network to its inference form."""

import copy

import torch
from torch import nn

from paradise.block import PDABlock
from paradise.kernels import conv_of, fold
from paradise.structure import norm_pairs, replace, slots


def fuse(model: nn.Module) -> nn.Module:
    """The inference form of a network: it computes what `model.eval()` computes, without ParaDise's branches.

    Every ParaDise block becomes what its `fuse()` returns (PD-A: one convolution with a bias; PD-B: mixed kernels and
    the gate), and every BatchNorm that follows a convolution is folded into it. Always from the running statistics:
    a model in train mode is fused as if `eval()` had been called on it first. What is shared stays shared.

    Args:
        model: Any network, or a ParaDise block; it is left untouched.

    Returns:
        A new module in eval mode.
    """
    if isinstance(model, PDABlock):
        return copy.deepcopy(model).fuse().eval()
    return fuse_(copy.deepcopy(model))


@torch.no_grad()
def fuse_(model: nn.Module) -> nn.Module:
    """As `fuse`, but changes the network itself; a block alone cannot be.

    Args:
        model: Any network.

    Returns:
        `model`, in eval mode.
    """
    for block, places in slots(model).items():
        if isinstance(block, PDABlock):
            replace(places, block.fuse())
    for conv, bn in list(norm_pairs(model)):
        found = slots(model)
        replace(found[conv], conv_of(*fold(conv, bn), like=conv))
        replace(found[bn], nn.Identity())
    model.eval()  # which in mmdetection's ResNet returns nothing
    return model
