"""ParaDise in any network: its 3×3 convolutions become ParaDise blocks, and `paradise.fuse` turns these back.

A convolution and the BatchNorm that follows it become a block as in the paper. One without a BatchNorm, as in a
feature pyramid or a detector's heads, becomes a block whose branches have a `SharedNorm`; fused, it is a plain
convolution with a bias.
"""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paradise.block import ConvBN, PDABlock, PDBBlock
from paradise.dynamic import DynamicConv2d
from paradise.errors import UserError, nearest
from paradise.kernels import draw_kernels
from paradise.names import BLOCKS, BRANCHES, order_branches
from paradise.structure import (
    CONVS,
    NORMS,
    Calls,
    Unknown,
    in_mode,
    memory_format,
    refuse_numbers_that_are_none,
    replace,
)

BLOCK_CLASSES: dict[str, type[PDABlock]] = dict(zip(BLOCKS, (PDABlock, PDBBlock), strict=True))
Norm = nn.BatchNorm2d | nn.SyncBatchNorm  # as NORMS
Where = str | Iterable[str] | Callable[[str, nn.Conv2d], bool]


class SharedNorm(nn.BatchNorm2d):
    """A BatchNorm for convolutions that see several kinds of input, as a head that all pyramid levels share.

    Batch statistics of one level are not those of another, nor the running ones that all levels are evaluated with, and
    that a fused convolution has. So the output is by the running statistics of all, in training as at inference, but
    the gradient is a BatchNorm's, through the batch's own statistics: Batch Renormalization (Ioffe, 2017) without its
    limits. Running statistics begin as plain means over what was seen. Arguments are a BatchNorm's.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] → [B, C, H, W]."""
        if not self.training or x.numel() == 0:  # of a batch of no images there are no statistics
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        with torch.no_grad():
            var, mean = torch.var_mean(x.to(self.running_mean.dtype), (0, 2, 3), correction=0)
            if self.track_running_stats:
                self.num_batches_tracked += 1
                share = (1 / self.num_batches_tracked.to(mean)).clamp(min=self.momentum or 0.0)
                # Of the old and the new together: about the mean of both.
                self.running_var.lerp_(var, share).add_(share * (1 - share) * (mean - self.running_mean).square())
                self.running_mean.lerp_(mean, share)
            deviation = (self.running_var + self.eps).sqrt()
            scale, shift = (var + self.eps).sqrt() / deviation, (mean - self.running_mean) / deviation
        return F.batch_norm(
            x, None, None, self.weight * scale, self.bias + self.weight * shift, training=True, eps=self.eps
        )


@torch.no_grad()
def convert(
    model: nn.Module,
    kind: str,
    where: Where = "*",
    branches: Iterable[str] = BRANCHES,
    preserve: bool = True,
    norms: Mapping[str, str | None] | None = None,
) -> list[str]:
    """Replaces 3×3 convolutions of any network, in place, by ParaDise blocks; `fuse` turns them back.

    A convolution and the BatchNorm that follows it become one block, which has the BatchNorm's class and settings in
    all branches. A convolution at several places stays shared. Modes (train, eval), frozen weights, number types,
    devices and memory formats stay. Kernels are drawn from torch's global random generator, block by block.

    Args:
        model: The network.
        kind: "pd_a", whose branches are summed, or "pd_b", whose branches are weighted by a gate.
        where: Names of modules or patterns (`neck.*`, `layer?.*.conv2`), which mean all 3×3 convolutions in what they
            match, or a predicate of a convolution's name and itself.
        branches: Those of every block, names out of "standard1", "standard2", "skeleton" and "group".
        preserve: The network computes in eval mode what it did before, so trained weights are not lost: Standard1 takes
            the old kernel (and BatchNorm), the other branches begin at zero, PD-B's gate as a constant; where
            convolutions have no BatchNorm, `calibrate` before training. Otherwise all kernels are drawn anew, by the
            paper's initialisation.
        norms: For convolutions whose way through the network cannot be followed: the name of each one's BatchNorm, or
            None for one that has none. What can be followed is not overruled.

    Returns:
        The names of the convolutions that were replaced.

    Raises:
        UserError: The kind or a branch is unknown, a pattern matches no 3×3 convolution, numbers of the network are NaN
            or infinite, or a block cannot take the place of a convolution that was chosen, which the message names.
            Nothing was replaced.
    """
    if kind not in BLOCKS:
        raise UserError(f"unknown kind '{kind}'{nearest(kind, BLOCKS)}")
    branches = order_branches(kind, branches, kind)
    chosen = _choose(model, where)
    refuse_numbers_that_are_none(model)
    calls = Calls(model, modes=[False, True])
    found = _norms_behind(calls, chosen, norms or {})
    for conv, bn in zip(chosen.values(), found, strict=True):
        replace(calls.places[conv], _block(kind, conv, bn, branches, preserve))
        if bn is not None:
            replace(calls.places[bn], nn.Identity().train(bn.training))
    return list(chosen)


@torch.no_grad()
def calibrate(model: nn.Module, forward: Callable[[nn.Module], object]) -> None:
    """Gives every `SharedNorm` the statistics of what it sees; the function that the network computes stays.

    For trained weights that were converted: their first steps would otherwise lose what the kernels had learned, while
    the statistics come from 0 and 1 to those of the data.

    Args:
        model: A network that was converted with `preserve`. Each of its modules is in its own mode again afterwards,
            also where `forward` fails.
        forward: Called once with the network in eval mode; gives it images like those that it will be trained with.

    Raises:
        UserError: Numbers of the network, or what a `SharedNorm` sees, are NaN or infinite, or one has no momentum. No
            weight was changed.
    """
    refuse_numbers_that_are_none(model)
    norms = {module: name for name, module in model.named_modules() if isinstance(module, SharedNorm)}
    for norm, name in norms.items():
        if not norm.momentum:
            raise UserError(f"'{name}' has a momentum of {norm.momentum}; set one between 0 and 1")
    seen = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def look(norm: SharedNorm, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        seen[norm] += torch.stack((torch.ones_like(x), x, x.square())).sum((1, 3, 4)).cpu()

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        with in_mode(model, training=False):
            forward(model)
    finally:
        for hook in hooks:
            hook.remove()
    for norm, name in norms.items():
        if not seen[norm].isfinite().all():
            raise UserError(f"'{name}' saw numbers that are none (NaN or infinity); look at the images and the weights")
    for norm, (count, total, squares) in seen.items():
        if count[0] == 0:
            continue
        mean = (total / count).to(norm.running_mean)
        var = (squares / count - (total / count).square()).clamp(min=0).to(norm.running_var)
        before = (norm.running_var + norm.eps).sqrt()
        norm.bias.add_(norm.weight * (mean - norm.running_mean) / before)
        norm.weight.mul_((var + norm.eps).sqrt() / before)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.num_batches_tracked.fill_(int(1 / norm.momentum))


def _choose(model: nn.Module, where: Where) -> dict[str, nn.Conv2d]:
    """The convolutions that `where` means, by name. What is a block already is left alone."""
    ours = [name for name, module in model.named_modules() if isinstance(module, (PDABlock, DynamicConv2d))]
    named = {
        name: module
        for name, module in model.named_modules()
        if name and not any(name == block or name.startswith(f"{block}.") for block in ours)
    }
    convs = {name: module for name, module in named.items() if isinstance(module, nn.Conv2d)}
    if callable(where):
        return {name: conv for name, conv in convs.items() if where(name, conv)}
    chosen: dict[str, nn.Conv2d] = {}
    for pattern in [where] if isinstance(where, str) else where:
        matched = [name for name in named if fnmatchcase(name, pattern)]
        if not matched:
            near = ", ".join(get_close_matches(pattern, named, n=3, cutoff=0)) or "it has none"
            raise UserError(f"'{pattern}' is no module of {type(model).__name__}; the nearest: {near}")
        found = {
            name: conv
            for name, conv in convs.items()
            if name == pattern
            or (conv.kernel_size == (3, 3) and any(f"{name}.".startswith(f"{module}.") for module in matched))
        }
        if not found:
            raise UserError(f"'{pattern}' matches no 3×3 convolution of {type(model).__name__}, only {matched[0]}, say")
        chosen |= found
    return {name: conv for name, conv in convs.items() if name in chosen}


def _norms_behind(calls: Calls, chosen: dict[str, nn.Conv2d], given: Mapping[str, str | None]) -> list[Norm | None]:
    """The BatchNorm of each convolution that was chosen, if it has one."""
    modules = {name: module for module, name in calls.names.items()}
    for name, of in given.items():
        if name not in chosen:
            raise UserError(f"`norms` names '{name}', which `where` does not mean{nearest(name, chosen)}")
        if of is not None and of not in modules:
            raise UserError(f"`norms` names '{of}', which is no module{nearest(of, modules)}")
    norms: list[Norm | None] = []
    for name, conv in chosen.items():
        obstacle = calls.obstacle(conv, *CONVS)
        if why := f"it {obstacle}" if obstacle else _unfitness(conv):
            raise UserError(f"'{name}' cannot become a ParaDise block: {why}; leave it out of `where`")
        norm = calls.norm(conv)
        if name in given:
            norm = _checked(name, norm, given[name], modules)
        alternative = f"say `norms={{'{name}': None}}` to keep both"
        if isinstance(norm, Unknown):
            also = ", or its BatchNorm's name in place of None"
            raise UserError(f"'{name}' cannot become a ParaDise block: {norm.why}; {alternative}{also}")
        if norm is not None and (why := calls.obstacle(norm, *NORMS)):
            of = calls.names[norm]
            raise UserError(f"'{name}' cannot become a ParaDise block: '{of}' behind it {why}; {alternative}")
        if norm is not None and norm in norms:
            raise UserError(
                f"`norms` gives '{calls.names[norm]}' to two convolutions; give it to one, None to the other"
            )
        norms.append(norm)  # type: ignore[arg-type]  # one of NORMS, which `obstacle` looks at
    return norms


def _checked(
    name: str, found: nn.Module | Unknown | None, of: str | None, modules: dict[str, nn.Module]
) -> nn.Module | None:
    """The BatchNorm that `norms` gives to a convolution, unless it contradicts what was found."""
    if of is None:
        return None
    possible = {found} if not isinstance(found, Unknown) else found.candidates
    if possible is not None and modules[of] not in possible:
        raise UserError(f"'{of}' does not follow '{name}', as `norms` says: look at the forward that calls them")
    return modules[of]


def _unfitness(conv: nn.Conv2d) -> str | None:
    """Why a plain convolution is none whose place a block can take, in words."""
    height, width = conv.kernel_size
    if (height, width) != (3, 3):
        return f"its kernel is {height}×{width}, not 3×3"
    if conv.groups != 1:
        return f"it has {conv.groups} groups, not one"
    if conv.dilation != (1, 1):
        return f"its dilation is {conv.dilation[0]}, not 1"
    if conv.padding not in ((1, 1), "same") or conv.padding_mode != "zeros":
        return f"its padding is {conv.padding} with {conv.padding_mode}, not 1 with zeros"
    return None


def _block(kind: str, conv: nn.Conv2d, bn: Norm | None, branches: tuple[str, ...], preserve: bool) -> PDABlock:
    """The block of that kind that takes the place of `conv`, and of `bn` if there is one."""
    norm: Any = SharedNorm if bn is None else type(bn)
    stride = (conv.stride[0], conv.stride[1])
    block = BLOCK_CLASSES[kind](conv.in_channels, conv.out_channels, stride, branches, norm)
    draw_kernels(block)
    block.to(conv.weight.device, conv.weight.dtype)
    block.to(memory_format=memory_format(conv))  # type: ignore[call-overload]  # torch's types leave it out
    block.requires_grad_(conv.weight.requires_grad).train(conv.training)
    for part in block.parts():
        _settle(part.bn, conv, bn)
    if preserve:
        _preserve(block, conv, bn)
    return block


def _settle(norm: nn.BatchNorm2d, conv: nn.Conv2d, bn: Norm | None) -> None:
    """Gives a branch's BatchNorm what the one that it takes the place of has, but for its weights and statistics."""
    if bn is None:
        frozen = conv.weight if conv.bias is None else conv.bias
        norm.bias.requires_grad_(frozen.requires_grad)
        return
    norm.to(bn.weight.device, bn.weight.dtype).train(bn.training)
    norm.weight.requires_grad_(bn.weight.requires_grad)
    norm.bias.requires_grad_(bn.bias.requires_grad)
    norm.eps, norm.momentum = bn.eps, bn.momentum
    if isinstance(bn, nn.SyncBatchNorm):
        norm.process_group = bn.process_group  # type: ignore[assignment]  # as the branches' is one as well


def _preserve(block: PDABlock, conv: nn.Conv2d, bn: Norm | None) -> None:
    """Makes `block` compute in eval mode what `conv`, and `bn` if there is one, did."""
    for module in block.modules():
        if isinstance(module, ConvBN) and module is not block.standard1:
            module.bn.weight.zero_()
    first = block.standard1
    first.conv.weight.copy_(conv.weight)
    if bn is not None:
        first.bn = bn  # type: ignore[assignment]  # whose buffers a SyncBatchNorm has as well
        if conv.bias is not None:
            assert bn.running_mean is not None  # as `Calls.obstacle` makes sure
            bn.running_mean -= conv.bias
    else:
        first.bn.weight.fill_((1 + first.bn.eps) ** 0.5)
        if conv.bias is not None:
            first.bn.bias.copy_(conv.bias)
    if isinstance(block, PDBBlock):
        # Each branch has the same weight, whatever the input, and so a share of the sum.
        block.gate.expand.weight.zero_()
        block.gate.expand.bias.zero_()
        first.bn.weight.mul_(len(block.branch_names))
        first.bn.bias.mul_(len(block.branch_names))
