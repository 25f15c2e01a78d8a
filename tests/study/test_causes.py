"""What decides a result, as the records name it and as `dvc.yaml` lists it."""

import re
from pathlib import Path

import pytest
import yaml
from conftest import PAPER, REPOSITORY, ROWS

from paradise.study import causes, evidence
from paradise.study.names import detection_rows
from paradise.study.tables import TABLES

PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
STAGES = PIPELINE["stages"]


def paths(entries) -> set[str]:
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


@pytest.mark.parametrize("step", sorted(causes.CODE.keys() - {"import"}))
def test_each_stage_depends_on_the_code_that_its_records_name(step):
    listed = {path.removeprefix("src/paradise/") for path in paths(STAGES[step]["deps"]) if path.startswith("src/")}
    assert listed == set(causes.CODE[step])


@pytest.mark.parametrize("step", sorted(causes.CODE))
def test_the_code_is_there(step):
    for name in causes.CODE[step]:
        assert (REPOSITORY / "src" / "paradise" / name).is_file()


def test_another_byte_is_another_code(tmp_path, monkeypatch):
    for name in causes.CODE["train"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(causes, "__file__", str(tmp_path / "causes.py"))
    before = causes.code("train")
    assert causes.code("train") == before
    (tmp_path / "training" / "loop.py").write_text("x = 2\n")
    assert causes.code("train") != before


def test_the_stages_are_of_the_default_presets_rows_and_seeds():
    preset = yaml.safe_load((REPOSITORY / "config" / "digits.yaml").read_text())
    variables = PIPELINE["vars"][0]
    assert sorted(variables["rows"]) == sorted(ROWS)
    assert variables["seeds"] == preset["seeds"]
    assert variables["preset"] == "digits"
    for step in ("train", "fuse", "evaluate"):
        assert STAGES[step]["matrix"] == {"row": "${rows}", "seed": "${seeds}"}
    assert sorted(variables["detectors"]) == sorted(row for row, _ in detection_rows(PAPER))
    for step in ("train_detector", "evaluate_detector"):
        assert STAGES[step]["matrix"] == {"detector": "${detectors}", "seed": "${seeds}"}


def test_the_tables_depend_on_every_row_and_the_plots_show_every_row():
    runs = {f"results/${{preset}}/{row}/seed0" for row in ROWS}
    detectors = {f"results/${{preset}}/detection/{row}/seed0" for row, _ in detection_rows(PAPER)}
    assert {path for path in paths(STAGES["tables"]["deps"]) if "seed" in path} == {
        f"{run}/evaluation.json" for run in runs | detectors
    }
    assert paths(STAGES["tables"]["outs"]) == {
        f"results/${{preset}}/tables/{table}.{kind}" for table in (*TABLES, "claims") for kind in ("md", "csv")
    }
    assert {path for path in paths(STAGES["report"]["deps"]) if path.endswith(".json") and "evidence/" not in path} == {
        path for path in paths(STAGES["tables"]["deps"]) if path.endswith(".json")
    }
    training = next(plot["training"] for plot in PIPELINE["plots"] if "training" in plot)
    assert training["y"] == {f"{run}/log.csv": "val_top1" for run in runs}


def test_the_evidence_is_all_of_it():
    variables = PIPELINE["vars"][0]
    assert variables["evidence"] == list(evidence.NAMES)
    assert variables["starts"] == list(evidence.STARTS)
    assert variables["evidence_seeds"] == evidence.SEEDS
    made = {f"results/${{preset}}/evidence/{name}.json" for name in evidence.NAMES}
    assert made <= paths(STAGES["report"]["deps"])


def test_outputs_survive_a_stage_that_fails():
    for stage in STAGES.values():
        for output in stage["outs"] + stage.get("metrics", []):
            assert next(iter(output.values()))["persist"]


def test_every_target_is_a_file_that_the_stage_makes():
    for name, stage in STAGES.items():
        target, rule = re.fullmatch(
            r"snakemake (\S+) --forcerun (\w+) --configfile config/\$\{preset\}\.yaml", stage["cmd"]
        ).groups()
        assert name == "tables" or target in paths(stage["outs"])
        assert rule == ("write_table" if name == "tables" else name)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda preset: preset["training"].update(learning_rate=9), "learning_rate changed"),
        (lambda preset: preset["data"].update(resize=40), r"data\.resize changed"),
        (lambda preset: preset.update(overrides={"resnet*": {"momentum": 0}}), "momentum changed"),
    ],
)
def test_a_run_of_other_settings_is_told_by_them(preset, change, named):
    run = {"row": "resnet18", "recipe": dict(preset["training"]), "data": preset["data"].copy()}
    run["data"]["manifest_sha256"] = causes.sha256(Path(preset["data"]["folder"], "manifest.csv"))
    assert causes.other_settings(run, preset) is None
    change(preset)
    assert re.fullmatch(named, causes.other_settings(run, preset))


def test_a_run_on_other_data_is_told(preset):
    run = {"row": "resnet18", "recipe": preset["training"], "data": preset["data"] | {"manifest_sha256": "other"}}
    assert causes.other_settings(run, preset) == f"{preset['data']['folder']}/manifest.csv changed"
