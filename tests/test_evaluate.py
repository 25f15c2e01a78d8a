import csv
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from paradise import create_model
from paradise.errors import UserError
from paradise.evaluate import evaluate, write_fused
from paradise.files import sha256
from paradise.training.loop import train
from paradise.weights import save_weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    """A folder as training and fusion leave it."""
    folder = tmp_path_factory.mktemp("trained")
    preset = {
        "data": {
            "dataset": "digits", "folder": str(digits), "image_size": 32, "resize": 32,
            "mean": [0.3] * 3, "std": [0.37] * 3,
            "augment": {"area": [1, 1], "aspect": [1, 1], "shift": 0, "flip": False},
        },
        "training": {
            "epochs": 2, "batch_size": 9, "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0,
            "warmup_epochs": 0, "schedule": "cosine", "precision": "float32",
        },
    }  # fmt: skip
    train("pd_b_resnet18-standard1-skeleton", preset, "test", 0, 1, folder)
    write_fused(folder)
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def test_hits_are_counted_over_exactly_the_validation_images(copied, digits):
    evaluate(copied, 1)
    metrics = json.loads((copied / "metrics.json").read_text())
    with (copied / "predictions.csv").open() as file:
        lines = list(csv.DictReader(file))
    with (digits / "manifest.csv").open() as file:
        listed = [(line["path"], line["label"]) for line in csv.DictReader(file) if line["split"] == "val"]
    assert [(line["image"], line["label"]) for line in lines] == listed
    assert metrics["images"] == len(listed) == 80
    for form in ("trained", "fused"):
        top1 = sum(line[f"{form}_1"] == line["label"] for line in lines)
        top5 = sum(line["label"] in [line[f"{form}_{rank}"] for rank in range(1, 6)] for line in lines)
        assert (metrics[form]["top1_hits"], metrics[form]["top5_hits"]) == (top1, top5)
        assert metrics[form]["top1"] == 100 * top1 / 80
    assert metrics["logits"]["relative"] < 1e-4
    assert metrics["logits"]["difference"] == pytest.approx(
        metrics["logits"]["relative"] * metrics["logits"]["largest"]
    )
    assert metrics["weights_sha256"] == sha256(copied / "weights.safetensors")


def test_training_and_evaluation_agree(copied):
    evaluate(copied, 1)
    metrics = json.loads((copied / "metrics.json").read_text())
    with (copied / "log.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert metrics["trained"]["top1"] == float(last["val_top1"])
    assert metrics["trained"]["top5"] == float(last["val_top5"])


def test_a_wrong_fusion_shows(copied):
    """The reported difference is measured, not assumed."""
    state = load_file(copied / "fused.safetensors")
    state["fc.bias"] += 1
    save_file(state, copied / "fused.safetensors")
    evaluate(copied, 1)
    assert json.loads((copied / "metrics.json").read_text())["logits"]["difference"] == pytest.approx(1, rel=1e-3)


def test_another_data_set_is_refused(copied, tmp_path, digits):
    other = tmp_path / "digits"
    shutil.copytree(digits, other)
    manifest = other / "manifest.csv"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    run = json.loads((copied / "run.json").read_text())
    run["data"]["folder"] = str(other)
    (copied / "run.json").write_text(json.dumps(run))
    with pytest.raises(UserError, match=r"is not the data that .* was trained on"):
        evaluate(copied, 1)
    assert not (copied / "metrics.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"row": "resnet18"}'])
def test_a_damaged_record_is_named(copied, text):
    (copied / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged .* train the row again"):
        write_fused(copied)


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        ("pd_b_resnet18", 10, "is of another model: it has layer1.0.conv1.group.bn.bias"),
        ("resnet50", 10, "is of another model: it lacks layer1.0.conv1.gate.expand.bias"),
        (None, 12, "has 12 classes, the model 10"),
        (None, None, "is damaged or no safetensors file"),
    ],
)
def test_weights_that_do_not_fit_the_record_are_refused(copied, name, classes, message):
    path = copied / "weights.safetensors"
    if classes is None:
        path.write_bytes(path.read_bytes()[:1000])
    elif name is None:
        save_weights(create_model("pd_b_resnet18", classes, ("standard1", "skeleton")), path)
    else:
        save_weights(create_model(name, classes), path)
    (copied / "fused.safetensors").unlink()
    with pytest.raises(UserError, match=message):
        write_fused(copied)
    assert not (copied / "fused.safetensors").exists()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no run at .*run\.json; train the row first"):
        write_fused(tmp_path)
