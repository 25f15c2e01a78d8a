"""Names of branches, kinds of block and models. No torch here: what only names things must not wait for it."""

import pkgutil
from collections.abc import Iterable
from functools import cache

from paradise.errors import UserError, nearest

# In the order of the gate's outputs.
BRANCHES = ("standard1", "standard2", "skeleton", "group")
BLOCKS = ("pd_a", "pd_b")  # the kinds of block, and of the models whose branches can be chosen
PLAIN = "plain"  # the kind whose models have no prefix
DEPTHS = (18, 50)
WIDTH = 64  # channels of the first stage


def list_kinds() -> tuple[str, ...]:
    """The kinds of model: the modules of `paradise.models`, the plain one first."""
    import paradise.models

    found = [module.name for module in pkgutil.iter_modules(paradise.models.__path__)]
    return tuple(sorted(found, key=lambda kind: (kind != PLAIN, kind)))


def list_models() -> list[str]:
    """The names that `create_model` takes.

    Returns:
        The names, such as `pd_b_resnet18`, the plain network of each depth first.
    """
    return list(_models())


def model_name(kind: str, depth: int) -> str:
    """The name of a kind's model of so many layers: `("pd_b", 18)` → `"pd_b_resnet18"`."""
    return f"resnet{depth}" if kind == PLAIN else f"{kind}_resnet{depth}"


def parse_model(name: str) -> tuple[str, int]:
    """The kind and the depth of a model: `"pd_b_resnet18"` → `("pd_b", 18)`.

    Args:
        name: One of `list_models()`.

    Returns:
        The kind, a module of `paradise.models`, and the number of layers.

    Raises:
        UserError: There is no such model.
    """
    known = _models()
    if name not in known:
        raise UserError(f"unknown model '{name}'{nearest(name, list(known))}")
    return known[name]


@cache
def _models() -> dict[str, tuple[str, int]]:
    return {model_name(kind, depth): (kind, depth) for depth in DEPTHS for kind in list_kinds()}


def order_branches(kind: str, branches: Iterable[str], of: str) -> tuple[str, ...]:
    """The branches in the order of the gate's outputs.

    Args:
        kind: "pd_a" or "pd_b".
        branches: Names out of `BRANCHES`, in any order.
        of: What has them, for messages.

    Returns:
        The same names in the order of `BRANCHES`.

    Raises:
        UserError: A block of this kind cannot have them.
    """
    branches = tuple(branches)
    for branch in branches:
        if branch not in BRANCHES:
            raise UserError(f"unknown branch '{branch}' of '{of}'{nearest(branch, BRANCHES)}")
    if len(set(branches)) < len(branches):
        raise UserError(f"'{of}' was given a branch twice: {', '.join(branches)}")
    if "standard1" not in branches:
        raise UserError(f"'{of}' needs the branch 'standard1'; given: {', '.join(branches) or 'none'}")
    if kind == "pd_b" and len(branches) < 2:
        raise UserError(f"'{of}' needs two branches or more: over one, its gate is the constant 1")
    return tuple(branch for branch in BRANCHES if branch in branches)
