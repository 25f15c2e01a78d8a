"""The networks of the paper's tables, by name."""

from functools import partial

from torch import nn

from paradise.attention import GatherExcite, SqueezeExcite
from paradise.block import PDABlock, PDBBlock
from paradise.names import BRANCHES, check_branches, split_model
from paradise.resnet import BasicBlock, Bottleneck, Pair, ResNet, plain_conv3x3

ARCHITECTURES = {18: (BasicBlock, (2, 2, 2, 2)), 50: (Bottleneck, (3, 4, 6, 3))}
BLOCKS = {"ac_": PDABlock, "pd_a_": PDABlock, "pd_b_": PDBBlock}
ATTENTION = {"se_": SqueezeExcite, "ge_": GatherExcite}


def create_model(name: str, num_classes: int = 1000, branches: tuple[str, ...] | None = None) -> ResNet:
    """The network called `name` in `paradise.list_models()`, with fresh weights from torch's random generator.

    `branches` chooses the branches of a `pd_a_` or `pd_b_` model (the paper's ablation), all four by default.
    Input [B, 3, H, W], output logits [B, num_classes]. Raises UserError for an unknown name or branch.
    """
    kind, depth = split_model(name)
    if branches is not None:
        branches = check_branches(name, branches)
    elif kind == "ac_":
        branches = ("standard1", "skeleton")
    conv3x3 = partial(_block_pair, BLOCKS[kind], branches or BRANCHES) if kind in BLOCKS else plain_conv3x3
    return ResNet(*ARCHITECTURES[depth], num_classes, conv3x3, ATTENTION.get(kind, nn.Identity))


def _block_pair(block: type[PDABlock], branches: tuple[str, ...], *shape: int) -> Pair:
    return block(*shape, branches), nn.Identity()
