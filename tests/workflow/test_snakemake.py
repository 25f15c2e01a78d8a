"""The whole pipeline through real Snakemake processes, in copies of the project."""

import csv
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import copy_project, run

from paradise.models import create_model

pytestmark = pytest.mark.slow
SMOKE = ("--configfile", "config/smoke.yaml")
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
RUN = "results/smoke/pd_b_resnet18/seed0"
ROWS = ("resnet18", "pd_a_resnet18-standard1-group", "pd_b_resnet18")


def snakemake(project: Path, *arguments: str, check: bool = True) -> str:
    return run(SNAKEMAKE, *arguments, *SMOKE, cwd=project, check=check).stdout


def planned(project: Path, *arguments: str) -> dict[str, int]:
    """Rule → number of jobs that Snakemake would run."""
    table = re.findall(r"^(\w+) +(\d+)$", snakemake(project, *arguments, "-n"), flags=re.MULTILINE)
    return {rule: int(count) for rule, count in table if rule not in ("all", "total")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A project whose smoke preset has run from nothing."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    output = snakemake(project)
    for message in ("Training pd_b_resnet18, seed 0", "Timing the fused models", "(3 of 3): done in"):
        assert message in output
    return project


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of the finished project, times and all, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))


def change_preset(project: Path, change) -> None:
    path = project / "config" / "smoke.yaml"
    preset = yaml.safe_load(path.read_text())
    change(preset)
    path.write_text(yaml.safe_dump(preset))


def test_everything_lies_where_the_snakefile_says(finished):
    results = finished / "results" / "smoke"
    for row in ROWS:
        assert {path.name for path in (results / row / "seed0").iterdir()} == {
            "weights.safetensors",
            "log.csv",
            "run.json",
            "fused.safetensors",
            "fused.json",
            "evaluation.json",
            "metrics.json",
            "predictions.csv.xz",
        }
        assert "epoch 1/1" in (results / "logs" / "train" / f"{row}-seed0.log").read_text()
        assert (results / "benchmarks" / "train" / f"{row}-seed0.tsv").read_text().startswith("s\t")
    assert {path.name for path in (results / "tables").iterdir()} == {
        f"{table}.{kind}" for table in ("imagenet", "ablation", "claims") for kind in ("md", "csv", "json")
    }
    assert f"{len(ROWS)}</strong>of {len(ROWS)} classification runs" in (results / "report.html").read_text()
    assert (results / "figures" / "accuracy-latency.png").is_file()


def test_tables_hold_the_measured_rows_and_call_the_others_not_run(finished):
    results = finished / "results" / "smoke"
    with (results / "tables" / "imagenet.csv").open() as file:
        lines = {line["row"]: line for line in csv.DictReader(file)}
    measured = {row for row, line in lines.items() if line["top1_measured"] != "not run"}
    assert measured == {"resnet18", "pd_b_resnet18"}
    for row in measured:
        metrics = json.loads((results / row / "seed0" / "evaluation.json").read_text())
        assert float(lines[row]["top1_measured"]) == metrics["fused"]["top1"]
        assert metrics["images"] == 160
    timed = json.loads((results / "profile" / "latency.json").read_text())["rows"]
    medians = [statistics.median(timed[row]["times_ms"]) for row in ("pd_b_resnet18", "resnet18")]
    assert float(lines["pd_b_resnet18"]["latency_ratio_measured"]) == medians[0] / medians[1]


def test_there_is_a_number_to_see_before_the_longest_training_begins(project):
    """The first row is trained first, though others take longer, and evaluated at once; then the longest."""
    change_preset(project, lambda preset: preset.update(overrides={"pd_b_*": {"epochs": 3}, "pd_a_*": {"epochs": 2}}))
    shutil.rmtree(project / "results" / "smoke")
    evaluations = [f"results/smoke/{row}/seed0/evaluation.json" for row in ROWS]
    said = snakemake(project, *evaluations, "--cores", "1")
    begun = re.findall(r"^(Training|Evaluating) (\w[\w-]+), seed ?0.*\((\d) of 3\)$", said, flags=re.MULTILINE)
    first, second, third = ("resnet18", "pd_b_resnet18", "pd_a_resnet18-standard1-group")
    expected = [
        (step, row, str(i + 1)) for i, row in enumerate((first, second, third)) for step in ("Training", "Evaluating")
    ]
    assert begun == expected


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in snakemake(finished)
    for target in ("all", "tables", "table_imagenet", "table_ablation"):
        assert "Nothing to be done" in snakemake(finished, target)


def test_a_changed_recipe_retrains_its_rows_and_nothing_else(project):
    change_preset(project, lambda preset: preset.update(overrides={"pd_b_*": {"learning_rate": 0.004}}))
    assert planned(project) == {"train": 1, "fuse": 1, "evaluate": 1, "table": 3, "report": 1}
    weights = [project / "results" / "smoke" / row / "seed0" / "weights.safetensors" for row in ROWS]
    before = [path.stat().st_mtime_ns for path in weights]
    snakemake(project)
    changed = [path.stat().st_mtime_ns != time for path, time in zip(weights, before)]
    assert changed == [False, False, True]
    assert "Nothing to be done" in snakemake(project)


def test_what_depends_on_a_setting_is_what_is_run_again(project):
    original = (project / "config" / "smoke.yaml").read_text()
    shown = {"table": 3, "report": 1}
    everything = {"train": 3, "fuse": 3, "evaluate": 3, **shown}
    for change, expected in (
        (lambda preset: preset["latency"].update(rounds=3), {"latency": 1, **shown}),
        (lambda preset: preset.update(seeds=[0, 1]), everything),
        (lambda preset: preset["training"].update(epochs=2), everything),
        (
            lambda preset: preset["rows"].append("ac_resnet18"),
            {
                "train": 1,
                "fuse": 1,
                "evaluate": 1,
                "complexity": 1,
                "latency": 1,
                **shown,
            },
        ),
    ):
        change_preset(project, change)
        assert planned(project) == expected
        (project / "config" / "smoke.yaml").write_text(original)


def test_editing_code_does_not_retrain_but_is_said(project):
    for path in ("src/paradise/study/table.py", "src/paradise/study/training/loop.py", "config/smoke.yaml"):
        (project / path).write_text((project / path).read_text() + "\n# A comment.\n")
    rules = project / "workflow" / "rules" / "tables.smk"
    rules.write_text(rules.read_text().replace("paradise tables {w", "paradise  tables {w"))
    assert planned(project) == {}
    loop = project / "src/paradise/study/training/loop.py"
    loop.write_text(loop.read_text() + "\nSOMETHING = 1\n")
    assert planned(project) == {"table": 3, "report": 1}
    said = f"train, rows {', '.join(ROWS)}, seed 0: other code in study.training.loop (commit"
    assert said in snakemake(project, "-n")
    snakemake(project)
    assert "†" in (project / "results/smoke/tables/imagenet.md").read_text()
    assert planned(project) == {}
    files = run("paradise", "status", "--files", "--preset", "config/smoke.yaml", cwd=project).stdout.split()
    assert files == [f"results/smoke/{row}/seed0/run.json" for row in ROWS]
    again = {"train": 3, "fuse": 3, "evaluate": 3, "table": 3, "report": 1}
    assert planned(project, "--forcerun", *files) == again


def test_times_of_files_mean_nothing(project):
    for number, path in enumerate(sorted((project / "results").rglob("*.json"), reverse=True)):
        os.utime(path, (number, number))
    assert planned(project) == {}


def test_a_failed_row_leaves_the_others_and_is_named_and_made_up_for(project):
    original = (project / "config" / "smoke.yaml").read_text()
    shutil.rmtree(project / "results" / "smoke" / "resnet18")
    change_preset(project, lambda preset: preset.update(overrides={"pd_b_*": {"batch_size": 1000}}))
    output = snakemake(project, check=False)
    assert "error: batch_size 1000 is more than the 160 training images" in output
    last = output[output.rindex("jobs failed, ") :]
    assert re.search(r"  Training pd_b_resnet18, seed 0.*: error: batch_size 1000 is more than the 160 training", last)
    assert "PD-B-ResNet18  not run (72.09)" in output, "resnet18 was measured, so there are tables"
    with (project / "results" / "smoke" / "tables" / "imagenet.csv").open() as file:
        lines = {line["row"]: line["top1_measured"] for line in csv.DictReader(file)}
    assert lines["pd_b_resnet18"] == "not run"
    assert lines["resnet18"] != "not run"
    (project / "config" / "smoke.yaml").write_text(original)
    assert planned(project) == {"train": 1, "fuse": 1, "evaluate": 1, "table": 3, "report": 1}


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_half_written_output_and_goes_on(project, kill):
    results = project / "results" / "smoke"
    shutil.rmtree(results / "pd_b_resnet18")
    change_preset(project, lambda preset: preset.update(overrides={"pd_b_*": {"epochs": 15}}))
    process = subprocess.Popen(
        [SNAKEMAKE, *SMOKE],
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout:
        if "epoch 1/15" in line:
            break
    time.sleep(0.5)
    os.killpg(process.pid, kill)
    output = process.communicate(timeout=60)[0]
    assert "Traceback" not in output
    assert not list((results / "pd_b_resnet18").rglob("*.safetensors"))
    assert not list((results / "pd_b_resnet18").rglob("*.json"))
    assert planned(project)["train"] == 1
    log = (results / "logs" / "train" / "pd_b_resnet18-seed0.log").read_text()
    saved = [path.name for path in (results / "pd_b_resnet18" / "seed0").glob("state/*.pt")]
    if kill == signal.SIGKILL:
        assert saved == [], "nothing was saved within ten minutes"
        return
    assert f"SIGINT ended it; the same command goes on from {RUN}/state/{saved[0]}" in log
    snakemake(project, f"{RUN}/run.json")
    step = int(saved[0][5:13])
    assert f"going on from step {step} of 75" in (results / "logs" / "train" / "pd_b_resnet18-seed0.log").read_text()
    assert json.loads((project / RUN / "run.json").read_text())["sessions"] == 2
    assert not (project / RUN / "state").exists()


def test_a_training_gets_the_gpus_that_its_job_has(project):
    commands = snakemake(project, "--forceall", "-n", "-p", "--set-resources", "train:gpu=8", "evaluate:gpu=1")
    assert commands.count("--gpus 8") == 3 and commands.count("--gpus 1 ") == 3
    profile = snakemake(project, "--forceall", "-n", "-p", "--profile", "workflow/profiles/gpu")
    assert profile.count("--gpus 8") == 3 and profile.count("--gpus 1 ") == 3
    assert planned(project) == {}, "on how many something ran is no reason to run it again"
    if not torch.cuda.is_available():
        output = snakemake(
            project, f"{RUN}/run.json", "--forcerun", "train", "--set-resources", "train:gpu=2", check=False
        )
        assert output.count("error: 2 GPUs are asked for and 0 are here; ask for fewer") >= 1
        assert "Traceback" not in output


def test_a_wrong_preset_is_refused_in_one_line(project):
    path = project / "config" / "smoke.yaml"
    path.write_text(path.read_text().replace("learning_rate", "learning_rat"))
    done = run(SNAKEMAKE, "--quiet", "all", *SMOKE, cwd=project, check=False)
    assert done.returncode == 2
    errors = [line for line in done.stdout.splitlines() if not line.startswith("Using workflow specific profile")]
    assert errors == ["error: config/smoke.yaml: unknown key 'training.learning_rat'; did you mean 'learning_rate'?"]


@pytest.mark.parametrize("change", ["seeds=[1]", "training={epochs: 2}", "typo=1"])
def test_a_study_cannot_be_changed_under_its_name(finished, change):
    done = run(SNAKEMAKE, "-n", *SMOKE, "--config", change, cwd=finished, check=False)
    assert done.returncode == 2
    assert "error: --config would change the study under its name: copy config/smoke.yaml" in done.stdout


def test_a_checkpoint_of_others_gets_its_line(project):
    """Weights of a ResNet18 in torchvision's format, named in the preset."""
    torch.manual_seed(0)
    torch.save(create_model("resnet18", 10).state_dict(), project / "theirs.pth")
    change_preset(project, lambda preset: preset.update(checkpoints={"resnet18": "theirs.pth"}))
    assert planned(project) == {"import_checkpoint": 1, "fuse": 1, "evaluate": 1, "table": 3, "report": 1}
    snakemake(project)
    with (project / "results" / "smoke" / "tables" / "imagenet.csv").open() as file:
        ours, theirs = (line for line in csv.DictReader(file) if line["row"] == "resnet18")
    evaluation = json.loads((project / "results" / "smoke" / "resnet18" / "imported" / "evaluation.json").read_text())
    assert theirs["model"] == "ResNet18 (torchvision-format weights)"
    assert float(theirs["top1_measured"]) == evaluation["fused"]["top1"] != float(ours["top1_measured"])
    assert theirs["params_m_measured"] == ours["params_m_measured"]
    assert planned(project) == {}
