"""How any network hangs together: where its modules sit, what they carry, which BatchNorm follows which convolution."""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from paradise.block import PDABlock
from paradise.dynamic import DynamicConv2d
from paradise.errors import UserError
from paradise.flow import Path, Unfollowable, hooks, is_chain, paths
from paradise.small_maps import TapConv2d

Slot = tuple[nn.Module, str]  # a parent and the name by which it knows a child
OURS = (PDABlock, DynamicConv2d)
CONVS = (nn.Conv2d, TapConv2d)  # the convolutions, and
NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)  # the BatchNorms, of which it is known what they compute in eval mode


def slots(model: nn.Module) -> dict[nn.Module, list[Slot]]:
    """Every place of every module below a network.

    Args:
        model: The network.

    Returns:
        Module → its places: a shared one has several.
    """
    places: dict[nn.Module, list[Slot]] = {}
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is not None:
                places.setdefault(child, []).append((parent, name))
    return places


def replace(places: list[Slot], new: nn.Module) -> None:
    """Puts a module into all places of another, so that what was shared stays shared.

    Args:
        places: Those of the old module, as `slots` names them.
        new: What takes them.
    """
    for parent, name in places:
        parent.register_module(name, new)


def peculiarity(module: nn.Module, *kinds: type[nn.Module]) -> str | None:
    """What a convolution or a BatchNorm is or carries beyond its class, so that another could not take its place.

    Args:
        module: The convolution or the BatchNorm.
        kinds: The classes that it may be of, exactly: one that derives from them may compute something else.

    Returns:
        Words that go on after "it"; None if there is nothing.
    """
    if type(module) not in kinds:
        return f"is a {type(module).__name__}, not a plain {kinds[0].__name__}"
    tensors: dict[str, Any] = module._parameters | module._buffers
    if kinds_of_hooks := hooks(module):
        return f"has {' and '.join(kinds_of_hooks)}"
    if added := {*vars(module), *tensors, *module._modules} - _attributes(type(module)):  # type: ignore[arg-type]
        return f"has {', '.join(sorted(added))} put on it"
    needed = tensors.keys() - ({"bias"} if isinstance(module, nn.Conv2d) else set())
    if lacking := sorted(name for name in needed if tensors[name] is None):
        return f"has no {' and no '.join(lacking)}"
    if hidden := module._non_persistent_buffers_set:
        return f"keeps its {', '.join(sorted(hidden))} out of its state"
    for name, tensor in tensors.items():
        if tensor is not None and type(tensor) is not (nn.Parameter if name in module._parameters else Tensor):
            return f"has a {name} that is a {type(tensor).__name__}"
        if tensor is not None and (vars(tensor) or tensor._backward_hooks or tensor._post_accumulate_grad_hooks):
            return f"has a {name} with hooks or attributes of its own"
    return None


@functools.cache
def _attributes(kind: Callable[..., nn.Module]) -> frozenset[str]:
    """The names of what a convolution or a BatchNorm of some class has as it is made."""
    sizes = (1, 1, 1) if kind in CONVS else (1,)
    made = kind(*sizes, device="meta")
    return frozenset([*vars(made), *made._parameters, *made._buffers])


def refuse_numbers_that_are_none(model: nn.Module) -> None:
    """Looks for NaN and infinity in all parameters, and in the statistics of BatchNorms.

    Args:
        model: The network.

    Raises:
        UserError: There are some; it names the first tensor that has them.
    """
    for name, module in model.named_modules():
        tensors: dict[str, Any] = module._parameters | (module._buffers if _is_batchnorm(module) else {})
        for key, tensor in tensors.items():
            if tensor is None or is_lazy(tensor) or tensor.is_meta or not tensor.is_floating_point():
                continue
            if not tensor.isfinite().all():
                place = f"{name}.{key}" if name else key
                raise UserError(f"'{place}' has numbers that are none (NaN or infinity); load weights without them")


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Every module in train or in eval mode; afterwards each in its own again, whatever happened.

    The flags alone are set: a network's own `train()` may do more, such as freeze its stages.

    Args:
        model: The network.
        training: Whether it is train mode.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = training
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def memory_format(conv: nn.Conv2d) -> torch.memory_format:
    """How the kernel of a convolution is laid out in memory.

    Args:
        conv: The convolution.

    Returns:
        `torch.channels_last` or `torch.contiguous_format`.
    """
    last = conv.weight.is_contiguous(memory_format=torch.channels_last) and not conv.weight.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


@dataclass(frozen=True)
class Unknown:
    """It cannot be told which BatchNorm follows a convolution.

    Attributes:
        why: In words.
        candidates: Those of which one may follow it; None if it may be any.
    """

    why: str
    candidates: set[nn.Module] | None = None


class Calls:
    """Which module of a network calls which, as far as each one's `forward` can be followed with symbols.

    Names do not matter, nor does the order in which modules were made. A module with a `forward` of its own is taken to
    be called as a whole by what cannot be followed; the parts of a Sequential or a list are not.

    Args:
        model: The network; it is left untouched.
        modes: Whether it is followed in train mode, in eval mode or in both.
    """

    def __init__(self, model: nn.Module, modes: Iterable[bool]):
        self.model, self.places = model, slots(model)
        self.names = {module: name for name, module in model.named_modules()}
        self.elsewhere, self.tied, self.read = held_elsewhere(model), _tied(model), set[nn.Module]()
        self.unfollowed: dict[nn.Module, str] = {}
        self.callers: dict[nn.Module, set[nn.Module]] = {}
        # Convolution → what it alone goes into, in each mode.
        self.after: dict[nn.Module, dict[bool, set[nn.Module | None]]] = {}
        self.before: dict[nn.Module, set[nn.Module | None]] = {}  # BatchNorm → what it alone comes from
        for mode in modes:
            with in_mode(model, mode):
                self._follow(mode)

    def obstacle(self, module: nn.Module, *kinds: type[nn.Module]) -> str | None:
        """Why no other module can take the place of a convolution or a BatchNorm.

        Args:
            module: The convolution or the BatchNorm.
            kinds: As `peculiarity` takes them.

        Returns:
            Words that go on after "it"; None if there is nothing.
        """
        if why := peculiarity(module, *kinds):
            return why
        if module in self.elsewhere:
            return "is also in a list, or another attribute, that PyTorch does not know of"
        if module in self.tied:
            return "shares a parameter with another module"
        if module in self.read:
            return "has a parameter that another module's forward reads"
        return None

    def norm(self, conv: nn.Conv2d) -> nn.Module | Unknown | None:
        """The BatchNorm that a convolution's output goes into, always and nowhere else.

        Args:
            conv: A convolution below the network.

        Returns:
            Whatever has "BatchNorm" in the name of its class, or holds one alone; None if there is none.
        """
        if len(self.places[conv]) != 1:
            return None
        for owner in self._owners(conv):
            if owner in self.unfollowed and self._could_follow(owner, conv):
                return Unknown(f"{type(owner).__name__}.forward cannot be followed ({self.unfollowed[owner]})")
        followers = list(self.after.get(conv, {}).values())
        norms = [bn for one in followers for bn in one if bn is not None]
        if not norms:
            return None
        bn = norms[0]
        once = len(self.callers[conv]) == len(self.callers[bn]) == len(self.places[bn]) == 1
        if all(one == {bn} for one in followers) and self.before[bn] == {conv} and once:
            return bn
        candidates = {bn for bn in norms if all(bn in one for one in followers)}
        why = f"'{self.names[bn]}' follows it only at times, or in another forward"
        return Unknown(why, candidates) if candidates else None

    def _owners(self, module: nn.Module) -> set[nn.Module]:
        """The modules with a `forward` of their own that may call a module, or what wraps it alone."""
        owners: set[nn.Module] = set()
        for parent, _ in self.places.get(module, []):
            if parent is self.model or not is_chain(parent):
                owners.add(parent)
            if parent is not self.model and (is_chain(parent) or _core(parent) is module):
                owners |= self._owners(parent)
        return owners

    def _could_follow(self, owner: nn.Module, conv: nn.Conv2d) -> bool:
        """Whether there is a BatchNorm that `owner` may call and that has as many channels as `conv`."""
        norms = [module for module in self.places if _is_batchnorm(module) and owner in self._owners(module)]
        return any(getattr(norm, "num_features", conv.out_channels) == conv.out_channels for norm in norms)

    def _follow(self, mode: bool) -> None:
        """Follows every module that holds convolutions, in the mode that it is in."""
        followed: dict[nn.Module, list[Path]] = {}
        inside = {part for module in self.names if isinstance(module, OURS) for part in module.modules()}
        for module in self.names:
            own = module is self.model or not is_chain(module)
            if not own or module in inside or not any(isinstance(m, nn.Conv2d) for m in list(module.modules())[1:]):
                continue
            try:
                followed[module] = paths(module, self._defaults(module, followed))
            except Unfollowable as error:
                self.unfollowed[module] = str(error)
            for path in followed.get(module, []):
                self._note(module, path, mode)

    def _defaults(self, module: nn.Module, followed: dict[nn.Module, list[Path]]) -> set[str]:
        """The arguments that nobody gives: known where all that may call a module could be followed."""
        owners = self._owners(module)
        if not owners <= followed.keys():
            return set()
        calls = [path for owner in owners for path in followed[owner]]
        if not any(called is module for path in calls for called, _ in path.calls):
            return set()
        return inspect.signature(module.forward).parameters.keys() - {n for path in calls for n in path.named(module)}

    def _note(self, owner: nn.Module, path: Path, mode: bool) -> None:
        """What one path through `owner` says of the modules that it calls."""
        self.read |= path.read
        called = {node: _core(module) for module, node in path.calls}
        counts = Counter(called.values())
        sources: dict[fx.Node, nn.Module] = {}
        for node, module in called.items():
            self.callers.setdefault(module, set()).add(owner)
            if isinstance(module, nn.Conv2d):
                user = next(iter(node.users)) if len(node.users) == 1 else node
                follower = called.get(user) if user.args == (node,) and not user.kwargs else None
                alone = follower is not None and _is_batchnorm(follower) and counts[module] == counts[follower] == 1
                self.after.setdefault(module, {}).setdefault(mode, set()).add(follower if alone else None)
                sources |= {user: module} if alone else {}
        for node, module in called.items():
            if _is_batchnorm(module):
                self.before.setdefault(module, set()).add(sources.get(node))


def _holders(module: nn.Module) -> list[nn.Module]:
    return [one for one in module.modules() if one._parameters or one._buffers]


def _core(module: nn.Module) -> nn.Module:
    """The convolution that a module wraps, if it holds nothing else; otherwise the module itself."""
    holders = _holders(module)
    return holders[0] if len(holders) == 1 and isinstance(holders[0], nn.Conv2d) else module


def _is_batchnorm(module: nn.Module) -> bool:
    """Whether a module is any sort of BatchNorm, or holds nothing but one."""
    holders = [module, *_holders(module)]
    named = [any("batchnorm" in kind.__name__.lower() for kind in type(one).__mro__) for one in holders]
    return named[0] or (len(holders) == 2 and named[1])


def held_elsewhere(model: nn.Module) -> set[nn.Module]:
    """Looks for modules in lists and other attributes, which PyTorch does not know of.

    Args:
        model: The network.

    Returns:
        Those that are found so; nothing that takes their place among the children of another would be found.
    """
    found: set[nn.Module] = set()

    def look(value: object) -> None:
        if isinstance(value, nn.Module):
            found.add(value)
        elif isinstance(value, dict):
            look(list(value.values()))
        elif isinstance(value, (list, tuple, set)):
            for one in value:
                look(one)

    for module in model.modules():
        look([value for name, value in vars(module).items() if name != "_modules" and not name.endswith("_hooks")])
    return found


def _tied(model: nn.Module) -> set[nn.Module]:
    """The modules of which a parameter or a buffer is another module's as well."""
    holders: dict[tuple[object, ...], set[nn.Module]] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and not is_lazy(tensor):
                there = not tensor.is_meta and tensor.layout == torch.strided and type(tensor.data) is Tensor
                key = (tensor.device, tensor.data_ptr()) if there and tensor.numel() else (id(tensor),)
                holders.setdefault(key, set()).add(module)
    return {module for sharing in holders.values() if len(sharing) > 1 for module in sharing}
