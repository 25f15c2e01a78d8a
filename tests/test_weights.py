import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from paradise import convert, create_model, load_weights, save_weights
from paradise.errors import UserError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    model = create_model("resnet18", 10)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(model, path)
    return model, path


def test_weights_come_back(saved):
    model, path = saved
    other = create_model("resnet18", 10)
    load_weights(other, path)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in other.state_dict().items())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_disk_that_fills_up_leaves_the_old_weights(saved, tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")
    write = Path.write_bytes

    def fill_up(self, data):
        write(self, data[:1000])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(UserError, match=r"weights.safetensors cannot be written: no space left on device"):
        save_weights(saved[0], path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        (
            "pd_a_resnet18",
            10,
            "of another model: it lacks layer1.0.conv1.group.bn.bias.* more keys and has layer1.0.bn1",
        ),
        ("resnet50", 10, "of another model: it lacks layer1.0.bn3.bias"),
        ("resnet18", 1000, "has 10 classes, the model 1000; create the model with num_classes=10"),
    ],
)
def test_weights_of_another_model_are_refused(saved, name, classes, message):
    model = create_model(name, classes)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_weights(model, saved[1])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_of_other_shapes_are_refused(saved, tmp_path):
    model = create_model("resnet18", 10)
    model.layer1[0].conv1 = torch.nn.Conv2d(64, 64, 5, bias=False)
    with pytest.raises(UserError, match=r"other shapes of layer1\.0\.conv1\.weight"):
        load_weights(model, saved[1])


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"no" + data, lambda data: b""])
def test_damaged_files_are_refused(saved, tmp_path, damage):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(damage(saved[1].read_bytes()))
    with pytest.raises(UserError, match="damaged or no safetensors file"):
        load_weights(saved[0], path)


def test_missing_files_are_named(saved, tmp_path):
    with pytest.raises(UserError, match=r"no weights at .*gone\.safetensors"):
        load_weights(saved[0], tmp_path / "gone.safetensors")


def recast(dtype):
    return lambda value: value.to(dtype)


HALF_IN = "which the model's float32 does not hold exactly, in "
VALUES = {
    "NaN": (("1.bias",), lambda value: value.fill_(math.nan), "NaN or infinity in 1.bias"),
    "infinity": (("0.weight",), lambda value: value.fill_(math.inf), "NaN or infinity in 0.weight"),
    "several": (
        ("0.bias", "0.weight", "1.bias", "1.running_var"),
        lambda value: value.fill_(math.nan),
        "NaN or infinity in 0.weight, 0.bias, 1.bias and 1 more keys",
    ),
    "variance": (("1.running_var",), lambda value: value.fill_(-1), "a negative variance in 1.running_var"),
    "float64": (("0.weight",), recast(torch.float64), f"numbers of type float64, {HALF_IN}0.weight"),
    "integers": (("0.weight",), recast(torch.int32), f"numbers of type int32, {HALF_IN}0.weight"),
    "float8": (("0.weight",), recast(torch.float8_e4m3fn), f"numbers of type float8_e4m3fn, {HALF_IN}0.weight"),
    "count": (
        ("1.num_batches_tracked",),
        recast(torch.float32),
        "numbers of type float32, which the model's int64 does not hold exactly, in 1.num_batches_tracked",
    ),
    "shape": (("0.weight",), lambda value: value[None], "is of another model: other shapes of 0.weight"),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_cannot_be_kept_is_named_and_the_network_stays(name, tmp_path):
    keys, change, message = VALUES[name]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = {key: torch.ones_like(value) for key, value in before.items()}
    save_file(state | {key: change(state[key]) for key in keys}, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as refused:
        load_weights(model, tmp_path / "w.safetensors")
    assert str(refused.value) in (f"{tmp_path}/w.safetensors: {message}", f"{tmp_path}/w.safetensors {message}")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_held_exactly(dtype, tmp_path):
    model, half = nn.Linear(4, 4), nn.Linear(4, 4).to(dtype)
    save_weights(half, tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.weight, half.weight.float())
    with pytest.raises(UserError, match="numbers of type float32"):
        save_weights(model, tmp_path / "w.safetensors")
        load_weights(half, tmp_path / "w.safetensors")


def test_what_is_shared_is_saved_at_each_of_its_places(tmp_path):
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.ModuleDict({"a": nn.Sequential(conv), "b": nn.Sequential(conv)})
    convert(model, "pd_a")
    save_weights(model, tmp_path / "w.safetensors", epoch="3")
    state = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    load_weights(model, tmp_path / "w.safetensors")


def test_metadata_is_text(tmp_path):
    with pytest.raises(TypeError, match="metadata 'epoch' is of type int, not text"):
        save_weights(nn.Linear(1, 1), tmp_path / "w.safetensors", epoch=3)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_weights(tmp_path):
    with pytest.raises(UserError, match="is damaged or no safetensors file"):
        load_weights(nn.Linear(1, 1), tmp_path)
