"""Checkpoints as the authors and torchvision publish them, written here with the keys of the method's section 6."""

import json
import os
import pickle
from collections import OrderedDict

import pytest
import torch
from conftest import changed, scramble

from paradise.errors import UserError
from paradise.models import create_model
from paradise.study.checkpoints import import_checkpoint
from paradise.study.code import fingerprint
from paradise.study.evaluate import evaluate
from paradise.study.hashes import sha256
from paradise.study.rows import Row, Run
from paradise.study.runs import read_run, run_of, trained_model, write_fused

RESNET18, GATED = Run(Row.parse("resnet18"), None), Run(Row.parse("pd_b_resnet18"), None)

THEIRS = (
    (".standard1.conv", ".ori_conv"),
    (".standard1.bn", ".ori_bn"),
    (".standard2.conv", ".new_conv"),
    (".standard2.bn", ".new_bn"),
    (".skeleton.vertical.conv", ".ac_convbn.ver_conv"),
    (".skeleton.vertical.bn", ".ac_convbn.ver_bn"),
    (".skeleton.horizontal.conv", ".ac_convbn.hor_conv"),
    (".skeleton.horizontal.bn", ".ac_convbn.hor_bn"),
    (".group.conv", ".group_conv"),
    (".group.bn", ".group_bn"),
    (".gate.reduce", ".fc.0"),
    (".gate.expand", ".fc.2"),
)


def theirs(state: dict) -> dict:
    """Half precision but for the BatchNorms, each key with `module.` and the authors' names."""
    translated = OrderedDict()
    for key, value in state.items():
        name = key
        for ours, their in THEIRS:
            name = name.replace(ours, their)
        translated[f"module.{name}"] = value if "bn" in key or not value.is_floating_point() else value.half()
    return translated


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return scramble(create_model("pd_b_resnet18", 10)).eval()


@pytest.fixture
def file(tmp_path, model):
    checkpoint = {
        "epoch": 100,
        "arch": "resnet18",
        "state_dict": theirs(model.state_dict()),
        "best_prec1": torch.tensor(72.09),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    }
    torch.save(checkpoint, tmp_path / "theirs.pth.tar")
    return tmp_path / "theirs.pth.tar"


def test_the_authors_network_comes_out_the_same(file, model, preset, tmp_path):
    import_checkpoint(file, GATED, preset, tmp_path / "imported")
    halved = {
        key: value.half().float() if value.is_floating_point() and "bn" not in key else value
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(halved)
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(trained_model(tmp_path / "imported")(x), model(x))


def test_the_record_says_where_it_is_from(file, preset, tmp_path):
    folder, preset = tmp_path / "imported", changed(preset, training={"device_batch_size": 8})
    import_checkpoint(file, GATED, preset, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "weights.safetensors"]
    record = json.loads((folder / "run.json").read_text())
    assert set(record) == {
        *("step", "preset", "of", "settings", "inputs", "outputs", "code", "seal"),
        *("time", "commit", "versions", "machine"),
        *("num_classes", "data_folder", "data_source", "batch_size", "precision", "source", "checkpoint"),
    }
    assert (record["step"], record["preset"]) == ("import_checkpoint", "test")
    assert record["of"] == {"row": "pd_b_resnet18"}
    assert record["settings"] == {"data": preset.data.evaluated()}
    assert record["inputs"] == {"theirs.pth.tar": sha256(file)}
    assert record["outputs"] == {"weights.safetensors": sha256(folder / "weights.safetensors")}
    assert record["code"] == fingerprint("paradise.study.checkpoints", "paradise.models.pd_b")
    assert (record["num_classes"], record["batch_size"], record["precision"]) == (10, 8, "float32")
    assert (record["data_folder"], record["data_source"]) == (preset.data.folder, None)
    assert record["source"] == "authors' checkpoint"
    assert record["checkpoint"] == {
        "file": "theirs.pth.tar",
        "sha256": sha256(file),
        "arch": "resnet18",
        "epoch": 100,
        "best_prec1": pytest.approx(72.09),
    }
    assert run_of(read_run(folder)) == GATED


@pytest.mark.parametrize(
    "said", [[1], float("nan"), float("-inf"), 10**400, True, torch.ones(2), {"a": 1}, b"x", None], ids=repr
)
def test_what_a_checkpoint_says_of_itself_is_left_out_where_it_is_nonsense(file, preset, tmp_path, said):
    checkpoint = torch.load(file) | dict.fromkeys(("arch", "epoch", "best_prec1"), said)
    torch.save(checkpoint, file)
    import_checkpoint(file, GATED, preset, tmp_path / "imported")
    record = read_run(tmp_path / "imported")
    assert record.checkpoint.model_dump(exclude_none=True) == {"file": file.name, "sha256": sha256(file)}


def test_it_is_fused_and_evaluated_like_a_run(file, preset, tmp_path):
    import_checkpoint(file, GATED, preset, tmp_path / "imported")
    write_fused(tmp_path / "imported")
    evaluate(tmp_path / "imported", 1)
    evaluation = json.loads((tmp_path / "imported" / "evaluation.json").read_text())
    assert evaluation["of"] == {"row": "pd_b_resnet18", "run": "imported"}
    assert evaluation["settings"] == {"data": preset.data.evaluated()}
    assert evaluation["images"] == 80
    assert evaluation["logits"]["relative"] < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_weights_are_taken_as_they_are(name, preset, tmp_path):
    """Those of the first releases count no batches."""
    model = scramble(create_model(name, 10)).eval()
    state = {key: value for key, value in model.state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "resnet.pth")
    import_checkpoint(tmp_path / "resnet.pth", Run(Row.parse(name), None), preset, tmp_path / "imported")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(trained_model(tmp_path / "imported")(x), model(x))


def test_weights_for_other_classes_than_the_data_are_not_evaluated(preset, tmp_path):
    torch.save(create_model("resnet18", 1000).state_dict(), tmp_path / "resnet.pth")
    import_checkpoint(tmp_path / "resnet.pth", RESNET18, preset, tmp_path / "imported")
    write_fused(tmp_path / "imported")
    with pytest.raises(UserError) as refused:
        evaluate(tmp_path / "imported", 1)
    assert str(refused.value) == (
        f"{tmp_path}/imported has weights for 1000 classes, {preset.data.folder} images of 10; "
        "evaluate it with the preset of its data"
    )


class Runs:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "arch": Runs()}, r"is refused: it wants to call (posix|os)\.system; only tensors"),
        ([1, 2], "is no checkpoint: it holds no dict of weights"),
        ({"state_dict": [1]}, "is no checkpoint: it holds no dict of weights"),
        ({"epoch": 3}, r"holds no weights of a ResNet \(no 'fc.weight'\)"),
        ({"fc.weight": torch.zeros(10, 512)}, r"is of another model: it lacks bn1\.bias, .* more keys"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content, message, preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=message):
        import_checkpoint(tmp_path / "bad.pth", RESNET18, preset, tmp_path / "imported")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]


def test_a_bare_pickle_is_not_opened(preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth.tar").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(UserError, match=r"is refused|is damaged"):
        import_checkpoint(tmp_path / "bad.pth.tar", RESNET18, preset, tmp_path / "imported")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth.tar"]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"hello"])
def test_a_damaged_file_is_refused(file, damage, preset, tmp_path):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"is damaged or no checkpoint|is refused"):
        import_checkpoint(file, GATED, preset, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("module.layer1.0.conv1.ori_conv.weight"), r"it lacks layer1\.0\.conv1\.standard1"),
        (lambda state: state.update({"module.extra": torch.zeros(1)}), "it has extra"),
        (
            lambda state: state.update({"module.conv1.weight": torch.zeros(64, 3, 3, 3)}),
            r"other shapes of conv1\.weight",
        ),
        (lambda state: state.update({"module.bn1.weight": 3}), "holds no weights"),
    ],
)
def test_keys_that_do_not_fit_are_listed_and_nothing_is_written(file, change, message, preset, tmp_path):
    checkpoint = torch.load(file, weights_only=True)
    change(checkpoint["state_dict"])
    torch.save(checkpoint, file)
    with pytest.raises(UserError, match=message):
        import_checkpoint(file, GATED, preset, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_a_missing_file_is_named(preset, tmp_path):
    with pytest.raises(UserError) as refused:
        import_checkpoint(tmp_path / "gone.pth", RESNET18, preset, tmp_path)
    assert str(refused.value) == f"no checkpoint at {tmp_path}/gone.pth"
