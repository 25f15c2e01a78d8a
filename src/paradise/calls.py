"""Whether a call is an ordinary one, which a faster form of the same computation may serve."""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_ordinary(x: Tensor) -> bool:
    """Whether `x` is computed with as it stands, on a processor.

    It is not where the call is traced, compiled or exported, transformed by `torch.func` or forward-mode
    differentiation, cast by autocast, or where `x` is not a tensor of torch's own kind: there a
    `torch.autograd.Function` would be left out, fail, or see other values.
    """
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )
