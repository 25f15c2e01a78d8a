import copy
import csv
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from paradise.causes import code
from paradise.data.dali import TrainingLoader
from paradise.data.loaders import Batch
from paradise.data.manifest import read_manifest
from paradise.errors import UserError
from paradise.files import sha256
from paradise.models import create_model
from paradise.record import commit, processor
from paradise.runs import trained_model
from paradise.training.loop import train


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_a_seed_fixes_the_weights_to_the_bit(preset, folders):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train("pd_b_resnet18-standard1-group", preset, "test", seed, 1, folders / name)
    a, b, c = (sha256(folders / name / "weights.safetensors") for name in "abc")
    assert a == b != c


def test_steps_are_those_of_sgd_with_momentum_and_decay(preset, tmp_path):
    """Against the update rule written out, with the learning rates of a linear warm-up and a cosine."""
    preset["training"] |= {"learning_rate": 0.05, "weight_decay": 0.1, "batch_size": 20}
    train("resnet18", preset, "test", 5, 1, tmp_path)

    torch.manual_seed(5)
    model = create_model("resnet18", 10).to(memory_format=torch.channels_last).train()
    initial = copy.deepcopy(model.state_dict())
    split = read_manifest(Path(preset["data"]["folder"])).train
    velocity = [torch.zeros_like(parameter) for parameter in model.parameters()]
    images = TrainingLoader(split, preset["data"], Batch(20, 1, 20), 5, 1, torch.device("cpu"))
    for lr in (0.025, 0.05, 0.025, 0.0):
        x, labels = next(images)
        gradients = torch.autograd.grad(F.cross_entropy(model(x), labels), list(model.parameters()))
        with torch.no_grad():
            for i, (parameter, gradient) in enumerate(zip(model.parameters(), gradients)):
                velocity[i] = 0.9 * velocity[i] + gradient + 0.1 * parameter
                parameter -= lr * velocity[i]
    expected = model.state_dict()
    for key, value in trained_model(tmp_path).state_dict().items():
        # How far rounding carries depends on the processor: 0.2 % of the way where it was most. Without the decay, or
        # with another momentum, it is 10 to 100 % of most tensors' ways.
        change, difference = (expected[key] - initial[key]).double(), (value - expected[key]).double()
        assert difference.norm() <= 0.01 * change.norm(), key


def test_the_record_says_what_was_run(preset, folders):
    train("resnet18", preset, "test", 3, 1, folders / "resnet18")
    folder = folders / "resnet18"
    assert sorted(path.name for path in folder.iterdir()) == ["log.csv", "run.json", "weights.safetensors"]
    run = json.loads((folder / "run.json").read_text())
    assert (run["row"], run["preset"], run["seed"], run["recipe"]) == ("resnet18", "test", 3, preset["training"])
    assert run["files"] == {name: sha256(folder / name) for name in ("weights.safetensors", "log.csv")}
    assert run["data"]["manifest_sha256"] == sha256(f"{preset['data']['folder']}/manifest.csv")
    assert run["versions"]["torch"] == torch.__version__
    assert run["machine"]["processor"] == processor()
    assert run["machine"]["threads"] == 1
    assert (run["commit"], run["code"]) == (commit(), code("train"))
    assert run["seconds"] > 0
    with (folder / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines] == ["1"]
    assert run["best"]["val_top1"] == float(lines[0]["val_top1"])
    assert trained_model(folder).fc.out_features == 10


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_float32_weights(preset, tmp_path, precision):
    preset["training"] |= {"precision": precision, "batch_size": 64}
    train("resnet18", preset, "test", 0, 1, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["precision"] == precision
    assert {parameter.dtype for parameter in trained_model(tmp_path).parameters()} == {torch.float32}


def test_a_longer_run_learns(preset, tmp_path):
    """80 digits, seen five times: far above the 10 % of chance."""
    preset["training"] |= {"epochs": 5, "learning_rate": 0.02, "warmup_epochs": 1}
    train("resnet18", preset, "test", 0, 1, tmp_path)
    with (tmp_path / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert float(lines[-1]["train_loss"]) < 0.7 * float(lines[0]["train_loss"])
    assert float(lines[-1]["train_top1"]) > 40


def test_a_loss_that_is_not_finite_stops_the_run(preset, tmp_path):
    preset["training"] |= {"learning_rate": 1e30, "warmup_epochs": 0}
    with pytest.raises(
        UserError, match=r"the loss is nan at step \d, learning rate 6.5\d+e\+29; the last state is none"
    ):
        train("resnet18", preset, "test", 0, 1, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_compiling_needs_a_compiler(preset, tmp_path, monkeypatch):
    preset["training"]["compile"] = True
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"'training.compile' needs a C"):
        train("resnet18", preset, "test", 0, 1, tmp_path)


def test_missing_data_is_named_and_nothing_written(preset, tmp_path):
    preset["data"]["folder"] = str(tmp_path / "gone")
    with pytest.raises(UserError, match="gone does not exist"):
        train("resnet18", preset, "test", 0, 1, tmp_path / "run")
    assert not (tmp_path / "run").exists()
