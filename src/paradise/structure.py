"""How any network hangs together: where its modules sit, and which BatchNorm follows which convolution."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch import fx, nn

Slot = tuple[nn.Module, str]  # a parent and the name by which it knows a child


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


def norm_pairs(model: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every convolution below a network whose output goes into a BatchNorm and nowhere else.

    Both are children of one module, whose `forward` is followed symbolically, so that their names do not matter and
    neither does the order in which they were made. Where it cannot be followed, there is no pair.

    Args:
        model: The network.

    Yields:
        The convolution and its BatchNorm, which has weights and running statistics.
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
        for call in calls:
            users = list(call.users)
            if len(users) == 1 and users[0] in calls and users[0].args == (call,):
                conv, bn = (parent.get_submodule(str(node.target)) for node in (call, users[0]))
                once = all(targets.count(node.target) == 1 for node in (call, users[0]))
                # Exactly these classes: what derives from them may compute something else.
                if once and type(conv) is nn.Conv2d and type(bn) is nn.BatchNorm2d:
                    alone = len(places[conv]) == len(places[bn]) == 1
                    if alone and bn.affine and bn.track_running_stats:
                        yield conv, bn


def _defaults(forward: Callable[..., Any]) -> dict[str, Any]:
    """The arguments that `forward` does without: flags, mostly, which a symbol could not be."""
    parameters = inspect.signature(forward).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


class _ChildrenTracer(fx.Tracer):
    """Sees which children a module calls, not what these do."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True
