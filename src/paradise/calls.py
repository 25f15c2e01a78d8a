"""What a call does beside computing, which a faster form must not pass over: hooks, recorders, transformations."""

import torch
from torch import Tensor, fx, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

from paradise.errors import UserError


def is_bare(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether to call a module is to run its class's `forward` on its own tensors, and nothing else.

    Args:
        module: What is asked about.
        kinds: The classes that it may have: exactly these, for subclasses and parametrised modules compute otherwise.

    Returns:
        False also where it has hooks, as pruning and weight normalisation have, or a `forward` of its own.
    """
    hooks = module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    return type(module) in kinds and not hooks and not _has_any_global_hook() and "forward" not in module.__dict__


def is_recorded(x: object) -> bool:
    """Whether operations on x are written down, by `torch.jit.trace`, `torch.onnx`, `torch.export` or `torch.fx`.

    What a module then chooses by the size of this x is chosen for all that come later.

    Args:
        x: A module's input.
    """
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]  # torch gives it no types
    return traced or torch.compiler.is_exporting() or isinstance(x, fx.Proxy)


def is_ordinary(x: Tensor) -> bool:
    """Whether `x` is computed with as it stands, on a processor.

    It is not where the call is traced, compiled or exported, transformed by `torch.func` or forward-mode
    differentiation, cast by autocast, or where `x` is not a tensor of torch's own kind: there a
    `torch.autograd.Function` would be left out, fail, or see other values.
    """
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and not is_recorded(x)
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


class NoScript:
    """A module that `torch.jit.script` refuses with one line, because its `forward` is more than TorchScript knows."""

    def __prepare_scriptable__(self) -> nn.Module:
        """What `torch.jit.script` asks every module for."""
        raise UserError(
            f"torch.jit.script cannot read a {type(self).__name__}; write the network with paradise.export, "
            "as .onnx or .pt2, or record it with torch.jit.trace"
        )
