"""A result passes for what today's preset and code make only if its record says so and nothing was edited since."""

import json
import re

import pytest
from conftest import make_preset
from safetensors.torch import load_file, save_file

from paradise.study import causes
from paradise.study.evaluate import evaluate
from paradise.study.profiling.latency import write_latency
from paradise.study.verify import unmade

ROW = "pd_b_resnet18-standard1-skeleton"


@pytest.fixture
def preset(digits) -> dict:
    return make_preset(digits, epochs=2, batch_size=9) | {"rows": [ROW, "resnet18"]}


@pytest.fixture
def evaluated(run_folder):
    evaluate(run_folder, 1)
    return run_folder


@pytest.mark.parametrize("step", ["train", "fuse", "evaluate"])
def test_what_was_just_made_is_what_would_be_made(evaluated, preset, step):
    assert unmade(step, evaluated, preset) is None


def test_data_that_were_just_prepared(digits, preset):
    preset["data"]["per_class"] = 8
    assert unmade("prepare", digits, preset) is None
    preset["data"]["per_class"] = 9
    assert unmade("prepare", digits, preset) == "per_class changed"


@pytest.mark.parametrize(
    ("step", "file", "reason"),
    [
        ("train", "run.json", "run.json was edited by hand"),
        ("train", "log.csv", "log.csv changed since"),
        ("train", "weights.safetensors", "weights.safetensors changed since"),
        ("evaluate", "evaluation.json", "evaluation.json was edited by hand"),
        ("evaluate", "metrics.json", "metrics.json changed since"),
        ("evaluate", "predictions.csv", "predictions.csv changed since"),
        ("evaluate", "fused.safetensors", "fused.safetensors changed since"),
    ],
)
def test_an_edit_shows(evaluated, preset, step, file, reason):
    path = evaluated / file
    if path.suffix == ".safetensors":
        state = load_file(path)
        state["fc.bias"] += 1
        save_file(state, path)
    else:
        path.write_text(re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), path.read_text(), count=1))
    assert unmade(step, evaluated, preset) == reason


@pytest.mark.parametrize("step", ["train", "fuse", "evaluate"])
def test_other_code_shows(evaluated, preset, step, monkeypatch):
    monkeypatch.setitem(causes.CODE, step, (*causes.CODE[step], "tables.py"))
    assert unmade(step, evaluated, preset) == "made by other code than today's"


def test_other_settings_show(evaluated, preset):
    preset["training"]["momentum"] = 0.8
    assert unmade("train", evaluated, preset) == "momentum changed"


def test_fused_from_other_weights(evaluated, preset):
    run = json.loads((evaluated / "run.json").read_text())
    run["files"]["weights.safetensors"] = "other"
    causes.write_record(evaluated / "run.json", run)
    assert unmade("fuse", evaluated, preset) == "fused from other weights"


def test_latency_of_other_settings_or_models(tmp_path, preset, monkeypatch):
    write_latency(["resnet18"], rounds=1, threads=1, output=tmp_path / "latency.json")
    assert unmade("latency", tmp_path, preset) is None
    assert unmade("latency", tmp_path, preset | {"latency": {"rounds": 2, "threads": 1}}) == "rounds or threads changed"
    assert unmade("latency", tmp_path, preset | {"rows": ["resnet50"]}) == "its rows changed"


def test_what_is_missing_or_damaged_is_said(evaluated, preset):
    (evaluated / "log.csv").unlink()
    assert unmade("train", evaluated, preset) == f"{evaluated / 'log.csv'} is not here"
    (evaluated / "evaluation.json").write_text('{"seal": 3}')
    assert unmade("evaluate", evaluated, preset) == "evaluation.json was edited by hand"
    (evaluated / "evaluation.json").write_text("{")
    assert unmade("evaluate", evaluated, preset).startswith(f"a record in {evaluated} is damaged")
