from pathlib import Path

import pytest
import torch

from paradise import create_model, load_weights, save_weights
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
