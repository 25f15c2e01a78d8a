"""A user's own export of a fused network: the same at every batch size, or refused in one line."""

import io
import logging
import warnings
from collections.abc import Callable

import onnxruntime
import pytest
import torch
from conftest import scramble
from torch import Tensor, nn

from paradise import UserError, convert, create_model, fuse
from paradise.block import PDABlock, PDBBlock
from paradise.names import BRANCHES

BRANCH_SETS = [("standard1", "standard2"), ("standard1", "skeleton"), ("standard1", "group"), BRANCHES]
Run = Callable[[Tensor], Tensor]


def by_onnxruntime(data: bytes) -> Run:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options)
    return lambda x: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def legacy_onnx(model: nn.Module, x: Tensor) -> Run:
    file = io.BytesIO()
    torch.onnx.export(model, (x,), file, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}})
    return by_onnxruntime(file.getvalue())


def dynamo_onnx(model: nn.Module, x: Tensor) -> Run:
    file = io.BytesIO()
    torch.onnx.export(model, (x,), dynamo=True, verbose=False, dynamic_shapes=dynamic(x)).save(file)
    return by_onnxruntime(file.getvalue())


def program(model: nn.Module, x: Tensor) -> Run:
    return torch.export.export(model, (x,), dynamic_shapes=dynamic(x)).module()


def dynamic(x: Tensor) -> tuple | None:
    """Any batch size; of one image a program of torch takes one image alone."""
    return ({0: torch.export.Dim("batch")},) if len(x) > 1 else None


RECORDERS = {
    "trace": lambda model, x: torch.jit.trace(model, x, check_trace=False),
    "legacy onnx": legacy_onnx,
    "dynamo onnx": dynamo_onnx,
    "program": program,
    "fx": lambda model, x: torch.fx.symbolic_trace(model),
}


@torch.no_grad()
def assert_same(recorder: str, model: nn.Module, shape: tuple[int, int, int], batch: int) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporters, about themselves
        run = RECORDERS[recorder](model, torch.randn(batch, *shape))
    for other in (1,) if batch == 1 and recorder in ("dynamo onnx", "program") else (1, 2, 5):
        x = torch.randn(other, *shape)
        torch.testing.assert_close(run(x), model(x), rtol=1e-4, atol=1e-4)


def block_of(kind: type[PDABlock], branches: tuple[str, ...]) -> PDABlock:
    torch.manual_seed(0)
    return scramble(kind(8, 8, branches=branches)).eval()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("branches", BRANCH_SETS, ids="-".join)
@pytest.mark.parametrize("recorder", RECORDERS)
def test_a_fused_pd_b(recorder, branches, batch):
    assert_same(recorder, fuse(block_of(PDBBlock, branches)), (8, 6, 6), batch)


@pytest.mark.parametrize("kind", [PDABlock, PDBBlock])
@pytest.mark.parametrize("side", [1, 6])
@pytest.mark.parametrize("recorder", ["trace", "legacy onnx", "program", "fx"])
def test_a_block_that_is_not_fused(recorder, side, kind):
    assert_same(recorder, block_of(kind, BRANCHES), (8, side, side), 3)


@pytest.mark.parametrize("name", ["pd_b_resnet18", "se_resnet18"])
@pytest.mark.parametrize("recorder", ["trace", "fx"])
def test_a_network(recorder, name):
    torch.manual_seed(0)
    assert_same(recorder, fuse(scramble(create_model(name, 10, width=8))), (3, 32, 32), 1)


@pytest.mark.parametrize("fused", [False, True])
@torch.no_grad()
def test_a_trace_serves_maps_of_other_sizes(fused):
    """What is cut, or mixed, on a map of one pixel is another on a larger one."""
    block = block_of(PDBBlock, BRANCHES)
    model = fuse(block) if fused else block
    traced = torch.jit.trace(model, torch.randn(1, 8, 1, 1), check_trace=False)
    x = torch.randn(2, 8, 12, 12)
    torch.testing.assert_close(traced(x), model(x))


def test_what_is_recorded_is_contiguous_as_the_input():
    fused, x = fuse(block_of(PDBBlock, BRANCHES)), torch.randn(3, 8, 6, 6)
    assert torch.jit.trace(fused, x, check_trace=False)(x).is_contiguous()


@pytest.mark.parametrize("fused", [False, True])
def test_torchscript_is_refused_in_one_line(fused):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    convert(model, "pd_b")
    name = "DynamicConv2d" if fused else "PDBBlock"
    with warnings.catch_warnings(), pytest.raises(UserError) as refused:
        warnings.simplefilter("ignore")
        torch.jit.script(fuse(model) if fused else model)
    assert str(refused.value) == (
        f"torch.jit.script cannot read a {name}; write the network with paradise.export, as .onnx or .pt2, "
        "or record it with torch.jit.trace"
    )


@pytest.mark.parametrize("name", ["resnet18", "ge_resnet18", "pd_a_resnet18", "pd_b_resnet18"])
def test_networks_are_no_torchscript(name):
    with warnings.catch_warnings(), pytest.raises(UserError, match=r"cannot read a ResNet; .* paradise.export"):
        warnings.simplefilter("ignore")
        torch.jit.script(fuse(create_model(name, 10, width=8)))


def test_fx_does_not_follow_gather_excite():
    model = fuse(create_model("ge_resnet18", 10, width=8))
    with pytest.raises(UserError, match=r"^torch.fx cannot follow a GatherExcite, .*; use paradise.export$"):
        torch.fx.symbolic_trace(model)
    assert_same("trace", model, (3, 64, 64), 1)
