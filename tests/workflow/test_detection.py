"""The third table through real Snakemake processes, in a copy of the project: one detector, three iterations."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import copy_project, run

pytestmark = pytest.mark.slow
SMOKE = ("--configfile", "config/smoke.yaml")
ROW = "retinanet-pd_b_resnet50"
FOLDER = Path("results", "smoke", "detection", ROW, "seed0")


def snakemake(project: Path, *arguments: str, check: bool = True) -> str:
    return run("snakemake", *arguments, *SMOKE, cwd=project, check=check).stdout


def planned(project: Path, *arguments: str) -> dict[str, int]:
    table = re.findall(r"^(\w+) +(\d+)$", snakemake(project, *arguments, "-n"), flags=re.MULTILINE)
    return {rule: int(count) for rule, count in table if rule not in ("all", "total", "table_detection")}


def change_preset(project: Path, change) -> None:
    path = project / "config" / "smoke.yaml"
    preset = yaml.safe_load(path.read_text())
    change(preset)
    path.write_text(yaml.safe_dump(preset))


def with_detection(preset: dict, digits: dict) -> None:
    del preset["training"]["width"]  # detectors take backbones of the full width
    detection = digits["detection"] | {"folder": "data/smoke-detection", "rows": [ROW]}
    detection.pop("overrides")
    detection["images"] = {"train": 20, "val": 20}
    detection["recipe"] |= {"iterations": 3, "warmup_iterations": 2, "image_size": 64}
    detection["latency"] |= {"image_size": 64, "rounds": 1}
    preset.update(rows=["pd_b_resnet50"], detection=detection)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    project = copy_project(tmp_path_factory.mktemp("detection"))
    digits = yaml.safe_load((project / "config" / "digits.yaml").read_text())
    change_preset(project, lambda preset: with_detection(preset, digits))
    output = snakemake(project, "table_detection")
    for message in (f"Training {ROW}, seed 0", "Counting and timing the detectors", "done in"):
        assert message in output
    return project


@pytest.fixture
def project(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))


def test_the_table(finished):
    tables = finished / "results" / "smoke" / "tables"
    with (tables / "detection.csv").open() as file:
        lines = {line["row"]: line for line in csv.DictReader(file)}
    assert len(lines) == 8
    evaluation = json.loads((finished / FOLDER / "evaluation.json").read_text())
    assert float(lines[ROW]["ap_measured"]) == evaluation["fused"]["ap"]
    assert lines[ROW]["ap_published"] == "37.9"
    assert lines[f"{ROW}-inside"]["ap_published"] == "" and "(new)" in lines[f"{ROW}-inside"]["backbone"]
    assert {line["ap_measured"] for row, line in lines.items() if row != ROW} == {"not run"}
    text = (tables / "detection.md").read_text()
    assert "**another data set**" in text and f"../detection/{ROW}/seed0/run.json" in text
    run = json.loads((finished / FOLDER / "run.json").read_text())
    weights = json.loads((finished / "results/smoke/pd_b_resnet50/seed0/run.json").read_text())["outputs"]
    assert run["inputs"]["backbone"] == weights["weights.safetensors"]


def test_nothing_is_done_twice_and_what_changed_is_done_again(project):
    assert "Nothing to be done" in snakemake(project, "table_detection")
    change_preset(project, lambda preset: preset["detection"]["recipe"].update(learning_rate=1e-4))
    detector = {"train_detector": 1, "evaluate_detector": 1, "profile_detectors": 1, "table": 1}
    assert planned(project, "table_detection") == detector
    change_preset(project, lambda preset: preset["detection"]["latency"].update(rounds=2))
    assert planned(project, "table_detection") == detector
    change_preset(project, lambda preset: preset["training"].update(momentum=0.8))
    assert planned(project, "table_detection") == detector | {"train": 1}
    run("paradise", "tables", "detection", "--preset", "config/smoke.yaml", cwd=project)
    text = (project / "results" / "smoke" / "tables" / "detection.md").read_text()
    assert f"- Not shown: `{ROW}` seed0 (learning_rate changed; " in text


def test_where_mmdetection_is_missing_the_others_are_made(project):
    """As if it were not installed: a `find_spec` that does not find it."""
    (project / "src" / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, package=None: None if name == 'mmdet' else found(name, package)\n"
    )
    shutil.rmtree(project / "results" / "smoke" / "detection")
    output = snakemake(project, "-n")
    assert "Table 3 is left out: it needs mmdetection, which `make setup` installs" in output
    assert "train_detector" not in output


def test_a_preset_without_detection_has_no_third_table(project):
    change_preset(project, lambda preset: preset.pop("detection"))
    assert "detector" not in snakemake(project, "-n")
    done = run("paradise", "tables", "detection", "--preset", "config/smoke.yaml", cwd=project, check=False)
    assert done.returncode == 2
    assert done.stdout == "error: config/smoke.yaml has no section 'detection'; config/digits.yaml shows one\n"
