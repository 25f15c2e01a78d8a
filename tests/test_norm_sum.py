"""The BatchNorms and the sum in few passes against one BatchNorm after the other, float64."""

import copy

import pytest
import torch
from conftest import scramble
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paradise import block as blocks
from paradise.block import PDABlock, PDBBlock
from paradise.norm_sum import norm_sum


def one_by_one(outputs, norms, weights=None):
    return sum(
        norm(z) if weights is None else weights[:, i, None, None, None] * norm(z)
        for i, (z, norm) in enumerate(zip(outputs, norms))
    )


def make_norms(count: int, channels: int, momentum: float) -> list[nn.BatchNorm2d]:
    norms = nn.ModuleList(nn.BatchNorm2d(channels, momentum=momentum) for _ in range(count))
    return list(scramble(norms).double())


@given(
    count=st.integers(1, 5),
    shape=st.tuples(st.integers(2, 4), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5)),
    weighted=st.booleans(),
    last=st.booleans(),
    momentum=st.sampled_from([0.1, 0.5]),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_output_gradients_and_statistics(count, shape, weighted, last, momentum, seed):
    torch.manual_seed(seed)
    layout = torch.channels_last if last else torch.contiguous_format
    norms = make_norms(count, shape[1], momentum)
    others = copy.deepcopy(norms)
    outputs = [(torch.randn(shape).double() * (i + 1) + i).contiguous(memory_format=layout) for i in range(count)]
    weights = torch.rand(shape[0], count).double() if weighted else None
    direction = torch.randn(shape).double()
    results = []
    for function, these in ((norm_sum, norms), (one_by_one, others)):
        inputs = [z.clone().requires_grad_() for z in outputs]
        shares = weights.clone().requires_grad_() if weighted else None
        y = function(inputs, these, shares)
        (y * direction).sum().backward()
        gradients = [leaf.grad for leaf in inputs + ([shares] if weighted else [])]
        affine = [parameter.grad for norm in these for parameter in (norm.weight, norm.bias)]
        statistics = [buffer for norm in these for buffer in norm.buffers()]
        results.append([y.detach(), *gradients, *affine, *statistics])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_gradcheck():
    norms = make_norms(3, 2, 0.1)
    outputs = [torch.randn(3, 2, 2, 3, dtype=torch.float64, requires_grad=True) for _ in norms]
    weights = torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda weights, *outputs: norm_sum(list(outputs), norms, weights), (weights, *outputs)
    )


@pytest.mark.parametrize("kind", [PDABlock, PDBBlock])
@pytest.mark.parametrize(("side", "stride"), [(9, 1), (9, 2), (2, 2), (1, 1), (1, 2)])
def test_a_blocks_training_step_is_that_of_its_branches(monkeypatch, kind, side, stride):
    """Also where kernels are cut, because the map comes out as one pixel."""
    torch.manual_seed(0)
    block = scramble(kind(64, 128, stride)).double()
    x, results = torch.randn(3, 64, side, side, dtype=torch.float64), []
    for fast in (True, False):
        one = copy.deepcopy(block)
        if not fast:
            monkeypatch.setattr(blocks, "_sums_norms", lambda norm, x: False)
            monkeypatch.setattr(blocks.ConvBN, "convolve", lambda self, x: self.conv(x))
        leaf = x.clone().requires_grad_()
        y = one(leaf)
        y.square().sum().backward()
        results.append([y.detach(), leaf.grad, *(p.grad for p in one.parameters()), *one.buffers()])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_it_is_used_in_training_and_keeps_no_more_than_the_convolutions_outputs():
    """For the gradient a block keeps its input and what the convolutions gave; beside them only small things."""
    block, x = PDBBlock(64, 64), torch.randn(4, 64, 16, 16, requires_grad=True)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.setdefault(tensor.untyped_storage().data_ptr(), tensor), lambda tensor: tensor
    ):
        block(x).sum().backward()
    assert sum(tensor.numel() >= x.numel() for tensor in kept.values()) == 1 + 5


@pytest.mark.parametrize("change", ["eval", "momentum", "autocast", "other"])
def test_where_it_does_not_apply_the_branches_do_their_work(monkeypatch, change):
    def refuse(*_):
        raise AssertionError("norm_sum was called")

    monkeypatch.setattr(blocks, "norm_sum", refuse)
    norm = type("Other", (nn.BatchNorm2d,), {}) if change == "other" else nn.BatchNorm2d
    block = PDBBlock(64, 64, norm=norm)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(change != "eval")
            if change == "momentum":
                module.momentum = None
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
        block(torch.randn(2, 64, 4, 4))


def test_one_value_a_channel_is_refused():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        PDABlock(64, 64)(torch.randn(1, 64, 1, 1))
