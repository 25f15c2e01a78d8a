"""Both forms of a fused PD-B against the block that it was fused from, float64."""

import pytest
import torch
from conftest import scramble
from hypothesis import given, settings
from hypothesis import strategies as st

from paradise import dynamic
from paradise.block import PDBBlock

BRANCHES = [("standard1",), ("standard1", "group"), ("standard1", "skeleton"), ("standard1", "standard2", "group")]


def make(*shape, **options) -> PDBBlock:
    torch.manual_seed(0)
    return scramble(PDBBlock(*shape, **options)).double().eval()


@given(
    channels=st.sampled_from([(64, 64), (128, 64), (96, 36)]),
    branches=st.sampled_from([*BRANCHES, ("standard1", "standard2", "skeleton", "group")]),
    stride=st.sampled_from([1, 2]),
    batch=st.integers(1, 4),
    side=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_both_forms_compute_what_the_block_does(channels, branches, stride, batch, side):
    block = make(*channels, stride=stride, branches=branches)
    fused = block.fuse()
    x = 3 * torch.randn(batch, 1, 1, 1).double() + torch.randn(batch, channels[0], *side).double()
    expected, weights = block(x), fused.gate(x)
    torch.testing.assert_close(fused.mixed(x, weights), expected)
    torch.testing.assert_close(fused.separate(x, weights), expected)
    torch.testing.assert_close(fused(x), expected)


@pytest.mark.parametrize(
    ("batch", "side", "stride", "form"),
    [
        (1, 2, 1, "mixed"),
        (1, 28, 1, "mixed"),
        (5, 14, 1, "mixed"),
        (5, 7, 1, "separate"),
        (5, 14, 2, "separate"),
        (5, 28, 2, "mixed"),
    ],
)
@torch.no_grad()
def test_the_form_goes_by_batch_and_map(monkeypatch, batch, side, stride, form):
    fused, taken = make(8, 8, stride=stride).fuse(), []
    for name in ("mixed", "separate"):
        original = getattr(dynamic.DynamicConv2d, name)
        monkeypatch.setattr(
            dynamic.DynamicConv2d, name, lambda *given, n=name, run=original: taken.append(n) or run(*given)
        )
    fused(torch.randn(batch, 8, side, side, dtype=torch.float64))
    assert taken == [form]


def test_kernels_are_stored_no_larger_than_they_are():
    """Two dense ones, five of nine taps, one of 64 groups."""
    fused = make(128, 128).fuse()
    stored = sum(conv.weight.numel() for conv in (fused.standards, *fused.others))
    dense = 128 * 128 * 9
    assert stored == 2 * dense + dense * 6 // 9 + dense // 64


@pytest.mark.parametrize(("batch", "side"), [(1, 6), (2, 6), (2, 16)])
@torch.no_grad()
def test_the_memory_format_of_the_input_is_kept(batch, side):
    fused = make(64, 64).fuse()
    x = torch.randn(batch, 64, side, side, dtype=torch.float64)
    last = x.contiguous(memory_format=torch.channels_last)
    assert fused(x).is_contiguous()
    assert fused(last).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fused(x), fused(last))


@pytest.mark.parametrize(("batch", "side"), [(1, 4), (3, 4), (3, 12)])
def test_a_fused_block_can_be_trained_on(batch, side):
    fused = make(64, 64).fuse()
    x = torch.randn(batch, 64, side, side, dtype=torch.float64)
    fused(x).square().sum().backward()
    parameter, index = fused.others[0].weight, (3, 5, 1, 0)
    slope, step = float(parameter.grad[index]), 1e-5
    with torch.no_grad():
        values = []
        for _ in range(2):
            parameter[index] += step
            values.append(fused(x).square().sum())
            step = -2 * step
    assert slope == pytest.approx(float(values[0] - values[1]) / 2e-5, rel=1e-5)
