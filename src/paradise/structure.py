"""How any network hangs together: where its modules sit, and which BatchNorm follows which convolution."""

import inspect
from collections.abc import Iterator

from torch import fx, nn

Slot = tuple[nn.Module, str]  # a parent and the name by which it knows a child


def slots(model: nn.Module) -> dict[nn.Module, list[Slot]]:
    """Every place of every module below `model`: a shared one has several."""
    places: dict[nn.Module, list[Slot]] = {}
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is not None:
                places.setdefault(child, []).append((parent, name))
    return places


def replace(places: list[Slot], new: nn.Module) -> None:
    """Puts `new` into all `places` of one module, so that what was shared stays shared."""
    for parent, name in places:
        parent.register_module(name, new)


def norm_pairs(model: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every convolution below `model` whose output goes into a BatchNorm and nowhere else, with that BatchNorm.

    Both are children of one module, whose `forward` is followed symbolically, so that their names do not matter and
    neither does the order in which they were made. Where it cannot be followed, there is no pair.
    """
    places = slots(model)
    for parent in model.modules():
        children = [type(child) for child in parent.children()]
        if nn.Conv2d not in children or nn.BatchNorm2d not in children:
            continue
        try:
            graph = _ChildrenTracer().trace(parent, _defaults(parent.forward))
        except Exception:  # whatever a foreign `forward` does with a symbol
            continue
        calls = [node for node in graph.nodes if node.op == "call_module"]
        targets = [node.target for node in calls]
        for conv in calls:
            users = list(conv.users)
            if len(users) == 1 and users[0] in calls and users[0].args == (conv,):
                pair = tuple(parent.get_submodule(node.target) for node in (conv, users[0]))
                once = all(targets.count(node.target) == 1 for node in (conv, users[0]))
                if once and _foldable(*pair) and all(len(places[module]) == 1 for module in pair):
                    yield pair


def _foldable(conv: nn.Module, bn: nn.Module) -> bool:
    return type(conv) is nn.Conv2d and type(bn) is nn.BatchNorm2d and bn.affine and bn.track_running_stats


def _defaults(forward) -> dict:
    """The arguments that `forward` does without: flags, mostly, which a symbol could not be."""
    parameters = inspect.signature(forward).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


class _ChildrenTracer(fx.Tracer):
    """Sees which children a module calls, not what these do."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return True
