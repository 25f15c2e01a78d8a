"""Pruning the branches: accuracy of a trained network without one of its branches, not trained again."""

import copy

import torch
from torch import nn

from paradise.evidence.networks import FOUR_BRANCHES, Networks, blocks
from paradise.fusion import fuse_


def make(networks: Networks) -> dict:
    """For each network with four branches: accuracy in %, whole, and without each branch in all blocks at once."""
    rows = [row for row in FOUR_BRANCHES if row in networks.rows]
    record = {}
    for row in rows:
        model = networks.trained(row)
        branches = next(iter(blocks(model).values())).branch_names
        accuracy = {
            branch: 100 * float(networks.hits(without(model, branch)).double().mean()) for branch in (None, *branches)
        }
        record[row] = {"whole": accuracy.pop(None), "without": accuracy}
    return {"rows": record, "images": len(networks.manifest.val)}


@torch.no_grad()
def without(model: nn.Module, branch: str | None) -> nn.Module:
    """`model`, fused, whose `branch` gives 0 in every block; the other branches' gate weights stay."""
    model = copy.deepcopy(model)
    for block in blocks(model).values() if branch else ():
        for part in getattr(block, branch).parts():
            part.bn.weight.zero_()
            part.bn.bias.zero_()
    return fuse_(model)
