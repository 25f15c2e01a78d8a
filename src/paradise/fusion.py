"""From the trained form of a network to its inference form."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from paradise.block import PDABlock, PDBBlock
from paradise.conversion import SharedNorm
from paradise.errors import UserError
from paradise.flow import hooks
from paradise.kernels import conv_of, fold
from paradise.structure import (
    CONVS,
    NORMS,
    Calls,
    held_elsewhere,
    memory_format,
    peculiarity,
    refuse_numbers_that_are_none,
    replace,
    slots,
)


def fuse(model: nn.Module) -> nn.Module:
    """The inference form of a network: it computes what `model.eval()` computes, without ParaDise's branches.

    Every ParaDise block becomes what its `fuse()` returns (PD-A: one convolution with a bias; PD-B: mixed kernels and
    the gate), and every BatchNorm that follows a convolution is folded into it. Always from the running statistics:
    a model in train mode is fused as if `eval()` had been called on it first. What is shared stays shared.

    A convolution or a BatchNorm that is or carries more than its class (hooks, weight normalisation, a pruning mask, an
    attribute), or whose way through the network cannot be followed, is left as it is.

    Args:
        model: Any network, or a ParaDise block; it is left untouched.

    Returns:
        A new module in eval mode.

    Raises:
        UserError: Numbers of the network are NaN or infinite, a ParaDise block carries what its fused form would lose,
            or the network cannot be copied.
    """
    if isinstance(model, PDABlock):
        return fuse_(nn.ModuleDict({"block": _copied(model)})).get_submodule("block")
    return fuse_(_copied(model))


@torch.no_grad()
def fuse_(model: nn.Module) -> nn.Module:
    """As `fuse`, but changes the network itself; a block alone cannot be.

    Args:
        model: Any network.

    Returns:
        `model`, in eval mode.

    Raises:
        UserError: As `fuse` does. Nothing was changed.
    """
    refuse_numbers_that_are_none(model)
    names = {module: name for name, module in model.named_modules() if isinstance(module, PDABlock)}
    elsewhere = held_elsewhere(model) if names else set()
    for block, name in names.items():
        if block in elsewhere:
            raise UserError(f"'{name}' cannot be fused: a list, or another attribute, holds it as well")
        _refuse_what_would_be_lost(block, name)
    fused = {block: _fused(block, name) for block, name in names.items()}
    model.eval()  # which in mmdetection's ResNet returns nothing
    places = slots(model)
    for block, new in fused.items():
        replace(places[block], new)
    calls = Calls(model, modes=[False])
    pairs = [(conv, calls.norm(conv)) for conv in calls.places if isinstance(conv, nn.Conv2d)]
    for conv, bn in pairs:
        if not isinstance(bn, NORMS) or calls.obstacle(conv, *CONVS) or calls.obstacle(bn, *NORMS):
            continue
        if one := _folded(conv, bn):
            replace(calls.places[conv], one)
            replace(calls.places[bn], nn.Identity().eval())
    return model


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy, also of a network with weights that hooks compute from others, as pruning does."""
    values = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    computed = {id(value): value.detach().clone() for value in values if not value.is_leaf}

    def copied(value: Any) -> Any:
        return copy.deepcopy(value, dict[int, Any](computed))

    try:
        twin: nn.Module = copied(model)
        for own, others in zip(model.parameters(), twin.parameters(), strict=True):
            vars(others).update(vars(own))  # which `deepcopy` leaves out
        return twin
    except Exception as error:  # of whatever a foreign module holds
        for name, module in reversed(list(model.named_modules())):
            held = {key: value for key, value in vars(module).items() if key not in ("_modules", "_parameters")}
            for key, value in (held | module._parameters).items():
                try:
                    copied(value)
                except Exception:
                    place = f"{name}.{key}" if name else key
                    raise UserError(f"'{place}' cannot be copied; take it off the network, then fuse it") from error
        raise


def _refuse_what_would_be_lost(block: PDABlock, name: str) -> None:
    """Compares a block with one that was made afresh: its fused form has nothing else."""
    kind = type(block)
    if kind not in (PDABlock, PDBBlock):
        if "fuse" in vars(kind):  # a stranger's block, which knows how it is fused
            return
        raise UserError(f"'{name}' cannot be fused: it is a {kind.__name__} without a `fuse` of its own")
    with torch.device("meta"):
        made = kind(block.in_channels, block.out_channels, block.stride, block.branch_names)
    for part, module in block.named_modules():
        if part.startswith("gate"):  # which is taken over as it is
            continue
        if why := _surplus(module, made.get_submodule(part)):
            raise UserError(f"'{name}{part and '.'}{part}' cannot be fused: it {why}, which would be lost")


def _surplus(module: nn.Module, made: nn.Module) -> str | None:
    """What a part of a block has beyond what it was made with, in words that go on after "it"."""
    if isinstance(made, nn.Conv2d):
        return peculiarity(module, *CONVS)
    if isinstance(made, nn.BatchNorm2d):
        return peculiarity(module, *NORMS, SharedNorm)
    if type(module) is not type(made):
        return f"is a {type(module).__name__}"
    if kinds_of_hooks := hooks(module):
        return f"has {' and '.join(kinds_of_hooks)}"
    has, had = ({*vars(m), *m._parameters, *m._buffers, *m._modules} for m in (module, made))
    return f"has {', '.join(sorted(has - had))} put on it" if has - had else None


def _fused(block: PDABlock, name: str) -> nn.Module:
    """What `fuse()` of a block returns, laid out in memory like it, and frozen if all of it is."""
    new = block.fuse().eval()
    if not all(tensor.is_meta or tensor.isfinite().all() for tensor in new.parameters()):
        raise UserError(f"'{name}' cannot be fused: its numbers are too large for {block.standard1.conv.weight.dtype}")
    if not any(parameter.requires_grad for parameter in block.parameters()):
        new.requires_grad_(False)
    if isinstance(new, nn.Conv2d):
        new.to(memory_format=memory_format(block.standard1.conv))  # type: ignore[call-overload]  # torch's types
    return new


def _folded(conv: nn.Conv2d, bn: nn.BatchNorm2d | nn.SyncBatchNorm) -> nn.Conv2d | None:
    """A convolution and its BatchNorm as one convolution; None where their number types cannot hold that."""
    weight = conv.weight
    half = weight.dtype in (torch.float16, torch.bfloat16) and bn.weight.dtype == torch.float32
    if not weight.is_floating_point() or weight.device != bn.weight.device or len(bn.weight) != len(weight):
        return None
    if bn.weight.dtype != weight.dtype and not half:
        return None
    new = conv_of(*fold(conv, bn), like=conv).eval()  # type: ignore[arg-type]  # a SyncBatchNorm has the same numbers
    if not all(tensor.is_meta or tensor.isfinite().all() for tensor in new.parameters()):
        return None
    new.to(memory_format=memory_format(conv))  # type: ignore[call-overload]  # torch's types leave it out
    new.weight.requires_grad_(weight.requires_grad)
    assert new.bias is not None
    new.bias.requires_grad_(bn.bias.requires_grad)
    return new
