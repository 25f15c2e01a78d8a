"""Pruning the branches: accuracy of a trained network without one of its branches, not trained again."""

import copy
from typing import Any

import torch
from torch import nn

from paradise.fusion import fuse_
from paradise.study.evidence.networks import Networks, blocks
from paradise.study.evidence.rows import rows_with_all_branches


def measure(networks: Networks) -> dict[str, Any]:
    """For each network with all branches: accuracy in %, whole, and without each branch in all blocks at once."""
    rows = {row.id: _accuracies(networks, networks.trained(row)) for row in rows_with_all_branches(networks.preset)}
    return {"rows": rows, "images": len(networks.manifest.val)}


def _accuracies(networks: Networks, model: nn.Module) -> dict[str, Any]:
    def accuracy(branch: str | None) -> float:
        return 100 * float(networks.hits(without(model, branch)).double().mean())

    branches = next(iter(blocks(model).values())).branch_names
    return {"whole": accuracy(None), "without": {branch: accuracy(branch) for branch in branches}}


@torch.no_grad()
def without(model: nn.Module, branch: str | None) -> nn.Module:
    """`model`, fused, whose `branch` gives 0 in every block; the other branches' gate weights stay."""
    model = copy.deepcopy(model)
    for block in blocks(model).values():
        for name, module in zip(block.branch_names, block.branches()):
            for part in module.parts() if name == branch else ():
                part.bn.weight.zero_()
                part.bn.bias.zero_()
    return fuse_(model)
