"""Exported networks against the trained ones, run by onnxruntime and torch.export as a user would."""

import importlib.util
import math
import re
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from conftest import scramble
from safetensors.torch import save_file

from paradise import create_model, export, exporter, fuse, save_weights
from paradise.errors import UserError

SIZE = 32
MODELS = [("pd_a_resnet18", None), ("pd_b_resnet18", ("standard1", "skeleton", "group"))]


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: model[0])
def trained(request, tmp_path_factory):
    """A model's name and branches, its network in eval mode, and its weights in both forms."""
    torch.manual_seed(0)
    name, branches = request.param
    model = scramble(create_model(name, 10, branches)).eval()
    folder = tmp_path_factory.mktemp("weights")
    save_weights(model, folder / "weights.safetensors")
    save_weights(fuse(model), folder / "fused.safetensors")
    return request.param, model, folder


def run_onnx(path: Path, images: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def assert_same(run, model) -> None:
    for batch in (1, 2, 5):
        images = torch.randn(batch, 3, SIZE, SIZE)
        with torch.no_grad():
            expected = model(images)
            assert float((run(images) - expected).abs().max() / expected.abs().max()) < 1e-4


@pytest.mark.slow
def test_onnx_at_any_batch_size(trained, tmp_path):
    (name, branches), model, folder = trained
    path = tmp_path / "m.onnx"
    network, fused_here = exporter.load(name, folder / "weights.safetensors", branches)
    differences = export(network, path, SIZE, 20)
    assert fused_here and set(differences) == {1, 5} and max(differences.values()) < 1e-4
    assert_same(lambda images: run_onnx(path, images), model)
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    assert [entry.version for entry in graph.opset_import if entry.domain == ""] == [20]
    batch, *rest = graph.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param and [dim.dim_value for dim in rest] == [3, SIZE, SIZE]
    # One image and several are computed in different forms.
    assert sum(node.op_type == "If" for node in graph.graph.node) == (16 if name.startswith("pd_b") else 0)
    # Kernels as small as they are: nothing that can be computed from them is in the file.
    assert path.stat().st_size < 1.1 * (folder / "fused.safetensors").stat().st_size
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.slow
def test_a_program_from_fused_weights(trained, tmp_path):
    (name, branches), model, folder = trained
    path = tmp_path / "m.pt2"
    network, fused_here = exporter.load(name, folder / "fused.safetensors", branches)
    export(network, path, SIZE, 20)
    assert not fused_here
    assert_same(torch.export.load(path).module(), model)


@pytest.mark.slow
def test_a_trained_network_is_fused_and_left_as_it_was(tmp_path):
    model = scramble(create_model("ac_resnet18", 10)).train()
    export(model, tmp_path / "m.pt2", SIZE)
    assert model.training and any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    program = torch.export.load(tmp_path / "m.pt2")
    assert not any("batch_norm" in str(node.target) for node in program.graph.nodes)
    assert_same(program.module(), model.eval())


@pytest.mark.slow
def test_what_differs_is_not_written(monkeypatch, tmp_path):
    model = scramble(create_model("pd_a_resnet18", 10))
    monkeypatch.setattr(exporter, "open_program", lambda path: lambda images: torch.zeros(len(images), 10))
    with pytest.raises(UserError, match="differs from the network"):
        export(model, tmp_path / "m.pt2", SIZE, 20)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("output", "opset", "message"),
    [
        ("m.pth", 20, "'m.pth' should end in .onnx or .pt2 (a program of torch.export)"),
        ("m.onnx", 9, "opset 9 is not supported; choose from 18 to 23"),
        ("m.onnx", 24, "opset 24 is not supported; choose from 18 to 23"),
    ],
)
def test_options(output, opset, message, tmp_path):
    with pytest.raises(UserError) as error:
        exporter.check_options(output, opset)
    assert str(error.value) == message
    with pytest.raises(UserError, match=f"{re.escape(message[1:])}$"):
        export(torch.nn.Identity(), tmp_path / output, opset=opset)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    with pytest.raises(UserError, match=r"^onnxruntime missing; run: pip install 'paradise-nn\[export\]'$"):
        exporter.check_options(Path("m.onnx"), 20)
    exporter.check_options(Path("m.pt2"), 20)


def test_a_size_that_the_network_cannot_take(tmp_path):
    with pytest.raises(UserError, match="cannot take images of 3000000×3000000"):
        export(create_model("resnet18", 10), tmp_path / "m.pt2", 3_000_000)


def test_weights_of_another_model(trained):
    _, _, folder = trained
    for form in ("weights", "fused"):
        with pytest.raises(UserError, match="is of another model"):
            exporter.load("se_resnet18", folder / f"{form}.safetensors")


@pytest.mark.parametrize("batch", exporter.CHECKED)
@pytest.mark.parametrize("value", [math.nan, math.inf, 1.0])
def test_a_difference_that_is_no_number_is_one(monkeypatch, tmp_path, value, batch):
    """At whichever batch size it is."""

    def run(images):
        return torch.full((len(images), 10), value) if len(images) == batch else model(images)

    model = fuse(scramble(create_model("resnet18", 10)))
    monkeypatch.setattr(exporter, "_write_program", lambda model, images, path, opset: path.touch())
    monkeypatch.setattr(exporter, "open_program", lambda path: run)
    with pytest.raises(UserError, match="differs from the network"):
        export(model, tmp_path / "m.pt2", SIZE)
    assert not list(tmp_path.iterdir())


def test_a_network_of_what_is_no_number_is_refused(tmp_path):
    model = create_model("resnet18", 10, width=8)
    model.fc.weight.data.fill_(3e38)  # a number, of which the logits are none
    with pytest.raises(UserError, match=r"^the network gives NaN or infinity, so no file can be checked"):
        export(model, tmp_path / "m.onnx", SIZE)
    model.fc.bias.data[3] = math.nan
    with pytest.raises(UserError, match=r"^'fc\.bias' has numbers that are none \(NaN or infinity\); load "):
        export(model, tmp_path / "m.onnx", SIZE)
    save_weights(model, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"w\.safetensors: NaN or infinity in fc\.bias$"):
        exporter.load("resnet18", tmp_path / "w.safetensors")


def test_logits_of_zero_can_be_checked():
    zeros = torch.zeros(2, 10)
    assert exporter._difference(zeros, zeros) == 0 and exporter._difference(zeros + 1e-6, zeros) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.weight": torch.tensor(1.0)}, r"other shapes of fc\.weight, fc\.bias$"),
        ({"fc.weight": torch.ones(9, 1)}, r"other shapes of fc\.weight, fc\.bias$"),
        ({"fc.weight": torch.ones(10**7, 1)}, r"other shapes of fc\.weight, fc\.bias$"),
        ({"conv1.weight": torch.ones(10**5, 1)}, "other shapes of conv1.weight, bn1.weight, bn1.bias and"),
        ({"conv1.weight": torch.tensor(1.0)}, "other shapes of conv1.weight"),
    ],
)
def test_what_a_file_claims_is_checked_before_memory_is_taken(change, message, tmp_path):
    """The network of the fourth would take terabytes."""
    save_file(create_model("resnet18", 10, width=8).state_dict() | change, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=message):
        exporter.load("resnet18", tmp_path / "w.safetensors")


def test_weights_without_a_classifier(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"it lacks bn1\.bias, .* and has a$"):
        exporter.load("resnet18", tmp_path / "w.safetensors")
