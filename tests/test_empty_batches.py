"""A batch of no images, as detectors have them: an empty output, no gradient and no change of statistics."""

import pytest
import torch
from conftest import scramble
from torch import nn

from paradise import convert, create_model, fuse
from paradise.attention import GatherExcite, SqueezeExcite
from paradise.block import PDABlock, PDBBlock
from paradise.conversion import SharedNorm


def head(kind: str) -> nn.Module:
    """A mask head's convolution without a BatchNorm, converted."""
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
    convert(model, kind)
    return model


PARTS = {
    "plain": lambda: nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)),
    "ac": lambda: PDABlock(16, 16, branches=("standard1", "skeleton")),
    "pd_a": lambda: PDABlock(16, 16),
    "pd_b": lambda: PDBBlock(16, 16),
    "pd_a head": lambda: head("pd_a"),
    "pd_b head": lambda: head("pd_b"),
    "shared norm": lambda: SharedNorm(16),
    "se": lambda: SqueezeExcite(16),
    "ge": lambda: GatherExcite(16),
}
NETWORKS = [f"{kind}resnet18" for kind in ("", "se_", "ge_", "ac_", "pd_a_", "pd_b_")]


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    """All but the count of batches of a BatchNorm: torch counts an empty one as well."""
    counted = {f"{name}.num_batches_tracked" for name, m in model.named_modules() if type(m) is nn.BatchNorm2d}
    return {name: buffer.clone() for name, buffer in model.named_buffers() if name not in counted}


def assert_nothing_happens(model: nn.Module, x: torch.Tensor, shape: tuple[int, ...]) -> None:
    before = statistics(model)
    leaf = x.clone().requires_grad_()
    y = model(leaf)
    assert y.shape == shape
    y.sum().backward()
    assert leaf.grad.shape == x.shape
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    for name, value in statistics(model).items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("side", [1, 7, 14])
@pytest.mark.parametrize("form", ["train", "eval", "fused"])
@pytest.mark.parametrize("part", PARTS)
def test_of_a_part(part, form, side):
    torch.manual_seed(0)
    model = nn.Sequential(PARTS[part]())
    model(torch.randn(4, 16, 14, 14))
    model = fuse(model) if form == "fused" else model.train(form == "train")
    assert_nothing_happens(model, torch.empty(0, 16, side, side), (0, 16, side, side))
    assert model.eval()(torch.randn(2, 16, 14, 14)).isfinite().all()


@pytest.mark.parametrize("form", ["train", "fused"])
@pytest.mark.parametrize("name", NETWORKS)
def test_of_a_network(name, form):
    model = scramble(create_model(name, 10))
    model = fuse(model) if form == "fused" else model.train()
    assert_nothing_happens(model, torch.empty(0, 3, 64, 64), (0, 10))


@pytest.mark.parametrize("kind", ["pd_a", "pd_b"])
def test_a_heads_statistics_are_those_without_the_empty_batches(kind):
    torch.manual_seed(0)
    some, all_ = head(kind), head(kind)
    all_.load_state_dict(some.state_dict())
    for count in (0, 3, 0, 2, 0):
        x = torch.randn(count, 16, 7, 7)
        all_(x)
        if count:
            some(x)
    assert all(torch.equal(value, all_.state_dict()[key]) for key, value in some.state_dict().items())
