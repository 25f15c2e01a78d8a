"""The networks of the paper's tables: a module of this package for each kind, which exports its `ARCHITECTURE`.

To add a kind is to add a module: its file's name is the kind's. No torch is loaded before a network is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from paradise.errors import UserError
from paradise.names import BLOCKS, WIDTH, order_branches, parse_model

if TYPE_CHECKING:
    from paradise.resnet import ResNet


def create_model(
    name: str, num_classes: int = 1000, branches: Iterable[str] | None = None, width: int = WIDTH
) -> ResNet:
    """A network of the paper, with fresh weights from torch's random generator.

    Args:
        name: One of `paradise.list_models()`.
        num_classes: How many logits it gives.
        branches: Those of a `pd_a_` or `pd_b_` model (the paper's ablation), all four by default.
        width: Channels of the first stage, the paper's 64 by default: fewer make a small network of the same design.

    Returns:
        A module that takes images [B, 3, H, W] and gives logits [B, num_classes].

    Raises:
        UserError: There is no such model, or it cannot have these branches.
    """
    kind, depth = parse_model(name)
    if branches is not None:
        if kind not in BLOCKS:
            raise UserError(f"'{name}' has no branches to choose; only pd_a_ and pd_b_ models do")
        branches = order_branches(kind, branches, name)
    network: ResNet = importlib.import_module(f"paradise.models.{kind}").ARCHITECTURE.build(
        depth, num_classes, branches, width
    )
    return network
