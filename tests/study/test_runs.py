import json
import re
from pathlib import Path

import pytest
import torch

from paradise.errors import UserError
from paradise.models import create_model
from paradise.study.code import fingerprint
from paradise.study.hashes import sha256
from paradise.study.records import Fused, Trained, write_record
from paradise.study.rows import Row, Run
from paradise.study.runs import batch_size, data_of, fused_model, read_run, run_of, trained_model, write_fused
from paradise.weights import save_weights

ROW = "pd_b_resnet18-standard1-skeleton"


@torch.no_grad()
def test_both_forms_come_back_from_the_folder(run_folder):
    x = torch.randn(3, 3, 32, 32)
    trained, fused = trained_model(run_folder), fused_model(run_folder)
    assert not trained.training and not fused.training
    torch.testing.assert_close(fused(x), trained(x), rtol=0, atol=1e-4 * float(trained(x).abs().max()))


def test_the_record_of_a_fused_form_says_what_it_was_made_of(run_folder):
    record = json.loads((run_folder / "fused.json").read_text())
    assert set(record) == {
        *("step", "preset", "of", "settings", "inputs", "outputs", "code", "seal"),
        *("time", "commit", "versions", "machine"),
    }
    assert (record["step"], record["preset"], record["of"]) == ("fuse", "test", {"row": ROW, "run": "seed0"})
    assert record["settings"] == {}
    assert record["inputs"] == {"weights.safetensors": sha256(run_folder / "weights.safetensors")}
    assert record["outputs"] == {"fused.safetensors": sha256(run_folder / "fused.safetensors")}
    assert record["code"] == fingerprint("paradise.study.runs", "paradise.models.pd_b")


def test_a_record_tells_its_run_and_its_data(run_folder, digits):
    record = read_run(run_folder)
    assert run_of(record) == Run(Row.parse(ROW), 0)
    data = data_of(record)
    assert (data.folder, data.source, data.per_class, data.loader) == (str(digits), None, 8, "dali")
    assert (data.image_size, data.resize, data.mean, data.std) == (32, 32, [0.3] * 3, [0.37] * 3)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"row": "resnet18"}'])
def test_a_damaged_record_is_named(run_folder, text):
    (run_folder / "run.json").write_text(text)
    path = re.escape(str(run_folder / "run.json"))
    with pytest.raises(UserError, match=rf"^{path} is damaged \(.+\); train the row again$"):
        write_fused(run_folder)


def test_a_record_that_was_edited_is_refused(run_folder):
    path = run_folder / "run.json"
    path.write_text(path.read_text().replace('"sessions": 1', '"sessions": 2'))
    with pytest.raises(UserError) as refused:
        trained_model(run_folder)
    assert str(refused.value) == f"{path} is damaged (edited by hand); train the row again"


def others(path: Path) -> None:
    """Writes other weights of the same row."""
    torch.manual_seed(1)
    save_weights(Row.parse(ROW).build(10, 8), path)


def test_weights_that_are_not_the_records_are_refused(run_folder):
    others(run_folder / "weights.safetensors")
    with pytest.raises(UserError) as refused:
        trained_model(run_folder)
    assert str(refused.value) == (
        f"{run_folder}/weights.safetensors is not what {run_folder}/run.json records; pull both or train again"
    )


def sealed(path: Path, schema, **changes) -> None:
    """Writes the record in `path` with other values, sealed again."""
    values = json.loads(path.read_text())
    del values["seal"]
    write_record(path, schema, values | changes)


def test_a_fused_form_of_other_weights_is_refused(run_folder):
    others(run_folder / "weights.safetensors")
    outputs = json.loads((run_folder / "run.json").read_text())["outputs"]
    weights = {"weights.safetensors": sha256(run_folder / "weights.safetensors")}
    sealed(run_folder / "run.json", Trained, outputs=outputs | weights)
    trained_model(run_folder)
    with pytest.raises(UserError) as refused:
        fused_model(run_folder)
    assert str(refused.value) == (
        f"{run_folder}/fused.safetensors was made of other weights; run `paradise fuse {run_folder}` again"
    )
    write_fused(run_folder)
    fused_model(run_folder)


def changed(folder: Path) -> None:
    model = fused_model(folder)
    with torch.no_grad():
        model.fc.bias += 1
    save_weights(model, folder / "fused.safetensors")


@pytest.mark.parametrize("damage", [changed, lambda folder: (folder / "fused.json").unlink()])
def test_a_fused_form_that_is_not_its_records_is_refused(run_folder, damage):
    damage(run_folder)
    with pytest.raises(UserError) as refused:
        fused_model(run_folder)
    assert str(refused.value) == (
        f"{run_folder}/fused.safetensors is not what {run_folder}/fused.json records; "
        f"run `paradise fuse {run_folder}` again"
    )


@pytest.mark.parametrize("change", [{"preset": "other"}, {"of": {"row": ROW, "run": "seed1"}}])
def test_a_fused_form_of_another_run_is_refused(run_folder, change):
    sealed(run_folder / "fused.json", Fused, **change)
    with pytest.raises(UserError) as refused:
        fused_model(run_folder)
    assert str(refused.value) == f"{run_folder}/fused.json is of another run; run `paradise fuse {run_folder}` again"


@pytest.mark.parametrize("name", ["data", "recipe"])
@pytest.mark.parametrize("section", [None, [], {}, {"image_size": "x"}, {"epochs": None}])
def test_settings_that_there_are_no_longer_are_named(run_folder, name, section):
    settings = json.loads((run_folder / "run.json").read_text())["settings"]
    sealed(run_folder / "run.json", Trained, settings=settings | {name: section})
    with pytest.raises(UserError, match=rf"^{ROW} seed0 was made with another '\w+' \(.*\); train it again$"):
        (data_of if name == "data" else batch_size)(read_run(run_folder))


def test_a_start_of_the_lotterys_is_no_run_of_a_row(run_folder):
    sealed(run_folder / "run.json", Trained, of={"start": "random", "seed": "0"}, start="random")
    with pytest.raises(UserError) as refused:
        write_fused(run_folder)
    assert str(refused.value) == (
        f"{run_folder}/run.json is of a start of the lottery's, not of a row; its evidence evaluates it"
    )


def test_a_damaged_record_of_a_fused_form_is_named(run_folder):
    path = run_folder / "fused.json"
    path.write_text(path.read_text().replace("seed0", "seed1"))
    with pytest.raises(UserError) as refused:
        fused_model(run_folder)
    assert str(refused.value) == f"{path} is damaged (edited by hand); run `paradise fuse {run_folder}` again"


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        ("pd_b_resnet18", 10, "is of another model: it has layer1.0.conv1.group.bn.bias"),
        ("resnet50", 10, "is of another model: it lacks layer1.0.conv1.gate.expand.bias"),
        (None, 12, "has 12 classes, the model 10"),
        (None, None, "is damaged or no safetensors file"),
    ],
)
def test_weights_that_do_not_fit_the_record_are_refused(run_folder, name, classes, message):
    path = run_folder / "weights.safetensors"
    if classes is None:
        path.write_bytes(path.read_bytes()[:1000])
    elif name is None:
        save_weights(create_model("pd_b_resnet18", classes, ("standard1", "skeleton"), 8), path)
    else:
        save_weights(create_model(name, classes), path)
    (run_folder / "fused.safetensors").unlink()
    with pytest.raises(UserError, match=message):
        write_fused(run_folder)
    assert not (run_folder / "fused.safetensors").exists()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError) as refused:
        write_fused(tmp_path)
    assert str(refused.value) == f"no run at {tmp_path}/run.json; train the row first"
