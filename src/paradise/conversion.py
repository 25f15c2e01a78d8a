"""ParaDise in any network: its 3×3 convolutions become ParaDise blocks, and `paradise.fuse` turns these back.

A convolution and the BatchNorm that follows it become a block as in the paper. One without a BatchNorm, as in a
feature pyramid or a detector's heads, becomes a block whose branches have a `SharedNorm`; fused, it is a plain
convolution with a bias.
"""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paradise.block import ConvBN, PDABlock, PDBBlock
from paradise.dynamic import DynamicConv2d
from paradise.errors import UserError, nearest
from paradise.kernels import draw_kernels
from paradise.names import BLOCKS, BRANCHES, order_branches
from paradise.structure import norm_pairs, replace, slots

BLOCK_CLASSES: dict[str, type[PDABlock]] = dict(zip(BLOCKS, (PDABlock, PDBBlock), strict=True))
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
) -> list[str]:
    """Replaces 3×3 convolutions of any network, in place, by ParaDise blocks; `fuse` turns them back.

    A convolution and the BatchNorm that follows it become one block. A convolution at several places stays shared.

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

    Returns:
        The names of the convolutions that were replaced.

    Raises:
        UserError: The kind or a branch is unknown, a pattern matches no 3×3 convolution, or a block cannot take the
            place of one that was chosen, which the message names. Nothing was replaced.
    """
    if kind not in BLOCKS:
        raise UserError(f"unknown kind '{kind}'{nearest(kind, BLOCKS)}")
    branches = order_branches(kind, branches, kind)
    chosen = _choose(model, where)
    for name, conv in chosen.items():
        if reason := _refusal(conv):
            raise UserError(f"'{name}' cannot become a ParaDise block: {reason}; leave it out of `where`")
    norms = dict(norm_pairs(model))
    for conv in chosen.values():
        bn, places = norms.get(conv), slots(model)
        replace(places[conv], _block(kind, conv, bn, branches, preserve))
        if bn is not None:
            replace(places[bn], nn.Identity())
    return list(chosen)


@torch.no_grad()
def calibrate(model: nn.Module, forward: Callable[[nn.Module], object]) -> None:
    """Gives every `SharedNorm` the statistics of what it sees; the function that the network computes stays.

    For trained weights that were converted: their first steps would otherwise lose what the kernels had learned, while
    the statistics come from 0 and 1 to those of the data.

    Args:
        model: A network that was converted with `preserve`.
        forward: Called once with the network in eval mode; gives it images like those that it will be trained with.
    """
    seen = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in _shared_norms(model)}

    def look(norm: SharedNorm, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        seen[norm] += torch.stack((torch.ones_like(x), x, x.square())).sum((1, 3, 4)).cpu()

    hooks = [norm.register_forward_pre_hook(look) for norm in seen]
    training = model.training
    forward(model.eval())
    model.train(training)
    for hook in hooks:
        hook.remove()
    for norm, (count, total, squares) in seen.items():
        if count[0] == 0:
            continue
        mean = (total / count).to(norm.running_mean)
        var = (squares / count - (total / count).square()).to(norm.running_var)
        before = (norm.running_var + norm.eps).sqrt()
        norm.bias.add_(norm.weight * (mean - norm.running_mean) / before)
        norm.weight.mul_((var + norm.eps).sqrt() / before)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.num_batches_tracked.fill_(int(1 / norm.momentum))


def _shared_norms(model: nn.Module) -> list[SharedNorm]:
    return [module for module in model.modules() if isinstance(module, SharedNorm)]


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


def _refusal(conv: nn.Conv2d) -> str | None:
    """Why no block can take the place of `conv`, in words."""
    height, width = conv.kernel_size
    if type(conv) is not nn.Conv2d:
        return f"it is a {type(conv).__name__}, not a plain Conv2d"
    if (height, width) != (3, 3):
        return f"its kernel is {height}×{width}, not 3×3"
    if conv.groups != 1:
        return f"it has {conv.groups} groups, not one"
    if conv.dilation != (1, 1):
        return f"its dilation is {conv.dilation[0]}, not 1"
    if conv.padding not in ((1, 1), "same") or conv.padding_mode != "zeros":
        return f"its padding is {conv.padding} with {conv.padding_mode}, not 1 with zeros"
    if conv._forward_hooks or conv._forward_pre_hooks:
        return "it has hooks, such as weight normalisation's"
    return None


def _block(
    kind: str, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, branches: tuple[str, ...], preserve: bool
) -> PDABlock:
    """The block of that kind that takes the place of `conv`, and of `bn` if there is one."""
    norm = nn.BatchNorm2d if bn is not None else SharedNorm
    stride = (conv.stride[0], conv.stride[1])
    block = BLOCK_CLASSES[kind](conv.in_channels, conv.out_channels, stride, branches, norm)
    draw_kernels(block)
    block.to(conv.weight.device, conv.weight.dtype)
    if preserve:
        _preserve(block, conv, bn)
    return block.requires_grad_(conv.weight.requires_grad).train(conv.training)


def _preserve(block: PDABlock, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
    """Makes `block` compute in eval mode what `conv`, and `bn` if there is one, did."""
    for module in block.modules():
        if isinstance(module, ConvBN) and module is not block.standard1:
            module.bn.weight.zero_()
    first = block.standard1
    first.conv.weight.copy_(conv.weight)
    if bn is not None:
        first.bn = bn
        if conv.bias is not None:
            assert bn.running_mean is not None  # as of every BatchNorm of `norm_pairs`
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
