"""The block in both its forms against a branch-by-branch computation in NumPy, float64."""

import itertools

import numpy as np
import pytest
import torch
from conftest import scramble
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paradise.block import ConvBN, PDABlock, PDBBlock, Skeleton
from paradise.dynamic import DynamicConv2d
from paradise.names import BRANCHES

SUBSETS = [
    ("standard1", *rest) for count in range(len(BRANCHES)) for rest in itertools.combinations(BRANCHES[1:], count)
]


def convolve(x: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    kernel, groups, stride = conv.weight.detach().numpy(), conv.groups, conv.stride[0]
    padded = np.pad(x, ((0, 0), (0, 0), *((side // 2, side // 2) for side in kernel.shape[2:])))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    parts = zip(np.split(windows, groups, axis=1), np.split(kernel, groups, axis=0))
    return np.concatenate([np.einsum("bihwkl,oikl->bohw", window, part) for window, part in parts], axis=1)


def normalise(y: np.ndarray, bn: nn.BatchNorm2d) -> np.ndarray:
    mean, var, weight, bias = (
        tensor.detach().numpy()[:, None, None] for tensor in (bn.running_mean, bn.running_var, bn.weight, bn.bias)
    )
    return (y - mean) / np.sqrt(var + bn.eps) * weight + bias


def branch_outputs(block: PDABlock, x: np.ndarray) -> list[np.ndarray]:
    outputs = []
    for name in block.branch_names:
        branch = getattr(block, name)
        pairs = [branch.vertical, branch.horizontal] if name == "skeleton" else [branch]
        outputs.append(sum(normalise(convolve(x, pair.conv), pair.bn) for pair in pairs))
    return outputs


def gate_weights(block: PDBBlock, x: np.ndarray) -> np.ndarray:
    def linear(layer: nn.Linear, values: np.ndarray) -> np.ndarray:
        return values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    logits = linear(block.gate.expand, np.maximum(linear(block.gate.reduce, x.mean((2, 3))), 0))
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def make(kind, *shape, seed=0, **options):
    torch.manual_seed(seed)
    return scramble(kind(*shape, **options), seed).double().eval()


@given(
    branches=st.sampled_from(SUBSETS),
    stride=st.sampled_from([1, 2]),
    channels=st.sampled_from([(64, 64), (64, 128), (128, 64)]),
    side=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    batch=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_pd_a_sums_its_branches_in_both_forms(branches, stride, channels, side, batch, seed):
    block = make(PDABlock, *channels, stride, branches, seed=seed)
    x = torch.randn(batch, channels[0], *side, dtype=torch.float64)
    expected = sum(branch_outputs(block, x.numpy()))
    fused = block.fuse()
    assert isinstance(fused, nn.Conv2d)
    with torch.no_grad():
        np.testing.assert_allclose(block(x).numpy(), expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(fused(x).numpy(), expected, rtol=1e-10, atol=1e-10)


@given(branches=st.sampled_from(SUBSETS[1:]), stride=st.sampled_from([1, 2]), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_pd_b_gates_its_branches_in_both_forms(batch, branches, stride, seed):
    block = make(PDBBlock, 64, 128, stride, branches, seed=seed)
    # Bright and dark images: the gate must be each sample's own.
    x = torch.randn(batch, 64, 5, 4, dtype=torch.float64) + 3 * torch.randn(batch, 64, 1, 1, dtype=torch.float64)
    weights = gate_weights(block, x.numpy())
    outputs = branch_outputs(block, x.numpy())
    expected = sum(weights[:, i, None, None, None] * output for i, output in enumerate(outputs))
    fused = block.fuse()
    assert isinstance(fused, DynamicConv2d)
    with torch.no_grad():
        np.testing.assert_allclose(block(x).numpy(), expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(fused(x).numpy(), expected, rtol=1e-10, atol=1e-10)


def test_the_gates_outputs_are_in_the_papers_order():
    """Standard1, Standard2, Skeleton, Group: an output far above the others leaves its branch alone."""
    assert BRANCHES == ("standard1", "standard2", "skeleton", "group")
    block = make(PDBBlock, 64, 64)
    x = torch.randn(2, 64, 6, 6, dtype=torch.float64)
    for index, name in enumerate(("standard1", "standard2", "skeleton", "group")):
        block.gate.expand.weight.data.zero_()
        block.gate.expand.bias.data.copy_(torch.eye(4)[index] * 1000)
        with torch.no_grad():
            expected = getattr(block, name)(x)
            torch.testing.assert_close(block(x), expected)
            torch.testing.assert_close(block.fuse()(x), expected)


def test_branches_are_what_the_paper_says():
    block = PDBBlock(128, 256, stride=2)
    assert (block.group.conv.groups, block.group.conv.kernel_size) == (64, (3, 3))
    assert block.skeleton.vertical.conv.kernel_size == (3, 1)
    assert block.skeleton.horizontal.conv.kernel_size == (1, 3)
    assert block.gate.reduce.out_features == 128 // 16
    convs = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 5
    assert all(conv.bias is None and conv.stride == (2, 2) for conv in convs)
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 5
    assert all((norm.eps, norm.momentum) == (1e-5, 0.1) for norm in norms)


def test_fusing_uses_running_statistics_and_leaves_a_training_block_alone():
    block = make(PDBBlock, 64, 64).train()
    before = {key: value.clone() for key, value in block.state_dict().items()}
    x = torch.randn(3, 64, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        fused = block.fuse()(x)
        assert block.training
        assert all(torch.equal(value, before[key]) for key, value in block.state_dict().items())
        torch.testing.assert_close(fused, block.eval()(x))


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("kind", [PDABlock, PDBBlock])
def test_fused_blocks_work_in_bfloat16_and_channels_last(kind, batch):
    block = make(kind, 64, 64)
    x = torch.randn(batch, 64, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        expected = block(x)
        last = block.fuse().to(memory_format=torch.channels_last)
        torch.testing.assert_close(last(x.contiguous(memory_format=torch.channels_last)), expected)
        half = block.fuse().bfloat16()(x.bfloat16())
        assert half.dtype == torch.bfloat16
        assert (half - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_a_fused_pd_b_keeps_the_memory_format_of_its_input(batch):
    fused = PDBBlock(64, 64).eval().fuse()
    x = torch.randn(batch, 64, 6, 6)
    last = x.contiguous(memory_format=torch.channels_last)
    assert fused(x).is_contiguous()
    assert fused(last).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fused(x), fused(last))


@pytest.mark.parametrize(("channels", "groups"), [((64, 256), 64), ((96, 64), 32), ((256, 36), 4), ((3, 64), 1)])
def test_the_group_branch_has_as_many_groups_up_to_64_as_divide_the_channels(channels, groups):
    assert PDABlock(*channels).group.conv.groups == groups


def test_every_branch_is_one_conv_bn_or_a_skeleton():
    assert [type(branch) for branch in PDABlock(64, 64).branches()] == [ConvBN, ConvBN, Skeleton, ConvBN]
