import copy

import pytest
import torch
from conftest import ROWS, scramble
from torch import nn

from paradise import fuse
from paradise.block import PDABlock
from paradise.dynamic import DynamicConv2d
from paradise.study.rows import Row


def make(row: str, num_classes: int = 10) -> nn.Module:
    torch.manual_seed(0)
    return scramble(Row.parse(row).build(num_classes))


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
@torch.no_grad()
def test_every_row_fuses_exactly(row):
    model = make(row)
    x = torch.randn(2, 3, 32, 32)
    assert relative_difference(model.eval()(x), fuse(model)(x)) < 1e-4
    model.double()
    fused = fuse(model)
    for batch in (1, 2, 7):
        x = torch.randn(batch, 3, 32, 32, dtype=torch.float64)
        assert relative_difference(model(x), fused(x)) < 1e-10


@pytest.mark.parametrize("row", [row for row in ROWS if not row.startswith("pd_b")])
def test_fused_networks_are_ordinary_convolutions(row):
    fused = fuse(make(row))
    assert not any(isinstance(module, (nn.BatchNorm2d, PDABlock)) for module in fused.modules())
    assert all(conv.bias is not None for conv in fused.modules() if isinstance(conv, nn.Conv2d))


@pytest.mark.parametrize("row", ["ac_resnet18", "pd_a_resnet18", "pd_a_resnet18-standard1-group"])
def test_a_fused_pd_a_is_a_fused_resnet(row):
    """The same modules under the same names: at inference nothing tells them apart but their numbers."""
    plain, fused = fuse(make("resnet18")), fuse(make(row))
    assert {key: value.shape for key, value in fused.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }
    assert [type(module) for module in fused.modules()] == [type(module) for module in plain.modules()]


def test_a_fused_pd_b_keeps_kernels_and_gate():
    fused = fuse(make("pd_b_resnet18"))
    blocks = [module for module in fused.modules() if isinstance(module, DynamicConv2d)]
    assert len(blocks) == 16
    assert [conv.weight.shape for conv in (blocks[0].standards, *blocks[0].others)] == [
        (2 * 64, 64, 3, 3),
        (64, 64, 3, 1),
        (64, 64, 1, 3),
        (64, 1, 3, 3),
    ]
    assert blocks[0].biases.shape == (4, 64)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())


def test_fusing_leaves_its_argument_untouched():
    model = make("pd_b_resnet18").train()
    before = copy.deepcopy(model.state_dict())
    fused = fuse(model)
    assert model.training and not any(module.training for module in fused.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    for parameter in fused.parameters():
        parameter.data.zero_()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@torch.no_grad()
def test_a_model_in_train_mode_is_fused_from_its_running_statistics():
    model = make("ge_resnet18").double().train()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    fused = fuse(model)(x)
    assert relative_difference(model.eval()(x), fused) < 1e-10


@pytest.mark.parametrize("row", ["pd_a_resnet18", "pd_b_resnet18", "se_resnet50"])
@torch.no_grad()
def test_fused_networks_run_in_bfloat16_and_channels_last(row):
    fused = fuse(make(row))
    x = torch.randn(2, 3, 32, 32)
    expected = fused(x)
    last = fused.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert relative_difference(expected, last) < 1e-4
    half = fused.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert relative_difference(expected, half.float()) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("row", ["pd_a_resnet18", "pd_b_resnet18"])
@torch.no_grad()
def test_fused_networks_export_and_compile(row):
    fused = fuse(make(row))
    batch = {"x": {0: torch.export.Dim("batch")}}
    exported = torch.export.export(fused, (torch.randn(2, 3, 32, 32),), dynamic_shapes=batch).module()
    # Without a backend: that the graph is whole is ours to show, compiling it is the compiler's business.
    compiled = torch.compile(fused, fullgraph=True, backend="eager")
    for size in (1, 2, 5):
        x = torch.randn(size, 3, 32, 32)
        expected = fused(x)
        assert relative_difference(expected, exported(x)) < 1e-4
        assert relative_difference(expected, compiled(x)) < 1e-4


@pytest.mark.slow
@torch.no_grad()
def test_a_fused_block_compiles_to_machine_code():
    fused = fuse(make("pd_b_resnet18")).layer1[0].conv1
    compiled = torch.compile(fused, fullgraph=True)
    for size in (1, 3):
        x = torch.randn(size, 64, 8, 8)
        assert relative_difference(fused(x), compiled(x)) < 1e-4


def test_each_fusable_block_returns_a_plain_module():
    """The convention of `timm.utils.reparameterize_model`."""
    model = make("pd_b_resnet18")
    fusable = [module for module in model.modules() if hasattr(module, "fuse")]
    assert len(fusable) == 16
    assert not any(hasattr(module, "fuse") for block in fusable for module in block.fuse().modules())


def test_networks_that_are_not_ours_are_fused_too():
    foreign = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1, bias=True), nn.BatchNorm2d(64), nn.ReLU(), PDABlock(64, 64), nn.Conv2d(64, 8, 1)
    )
    foreign = scramble(foreign).double().eval()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    fused = fuse(foreign)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    torch.testing.assert_close(fused(x), foreign(x))
