"""The command line as a user meets it: separate processes, their messages and exit codes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import PAPER, preset_values, run
from typer.core import TyperGroup

from paradise.errors import INTERRUPTED
from paradise.study.terminal.cli import build

# Every command with what it takes: an argument by its name, an option with its dashes.
GOES_ON = "--save-minutes", "--restart", "--accept-changes"
COMMANDS = {
    "prepare": {"--preset", "--threads"},
    "train": {"row", "--preset", "--seed", "--threads", "--output", "--gpus", "--processes", *GOES_ON},
    "import-checkpoint": {"file", "--model", "--preset", "--output"},
    "fuse": {"folder"},
    "evaluate": {"folder", "--threads", "--gpus"},
    "export": {"model", "weights", "--output", "--image-size", "--opset"},
    "complexity": {"models", "--preset", "--output"},
    "latency": {"models", "--preset", "--output", "--rounds", "--threads"},
    "tables": {"which", "--preset"},
    "report": {"--preset"},
    "crate": {"--preset"},
    "pull": set(),
    "push": {"--preset"},
    "settings": {"--preset"},
    "show": {"which", "--preset"},
    "status": {"--preset", "--files"},
    "schema": {"--check"},
    "dvc-yaml": {"--preset", "--check"},
    "detection config": {"row", "--preset", "--output"},
    "detection prepare": {"--preset"},
    "detection train": {"row", "--preset", "--seed", "--threads", "--backbone", "--output", "--gpus", *GOES_ON},
    "detection evaluate": {"folder", "--threads", "--gpus"},
    "detection profile": {"--preset", "--output"},
    "evidence make": {"name", "--preset", "--threads", "--gpus"},
    "evidence train": {"start", "--preset", "--seed", "--threads", "--gpus", "--restart", "--accept-changes"},
}


def paradise(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return run(sys.executable, "-m", "paradise", *arguments, cwd=cwd, check=False)


@pytest.fixture
def project(tmp_path, digits) -> Path:
    """A folder with the published tables, a preset and prepared data."""
    shutil.copytree(PAPER, tmp_path / "data" / "paper")
    shutil.copytree(digits, tmp_path / "digits")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(preset_values(Path("digits"))))
    return tmp_path


def commands(group: TyperGroup, before: str = "") -> dict[str, set[str]]:
    """What `COMMANDS` says, of a command line."""
    found = {}
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if isinstance(command, TyperGroup):
            found |= commands(command, f"{name} ")
        else:
            options = (option.opts if option.opts[0].startswith("-") else [option.name] for option in command.params)
            found[before + name] = {name for names in options for name in names}
    return found


def test_every_command_is_there_with_its_options():
    assert commands(build()) == COMMANDS


def test_the_help_says_every_command(tmp_path):
    helped = paradise("--help", cwd=tmp_path)
    assert helped.returncode == 0
    for name in {name.partition(" ")[0] for name in COMMANDS}:
        assert f" {name} " in helped.stdout
    for group in ("detection", "evidence"):
        helped = paradise(group, "--help", cwd=tmp_path)
        assert helped.returncode == 0
        for name in COMMANDS:
            if name.startswith(f"{group} "):
                assert f" {name.partition(' ')[2]} " in helped.stdout


def test_a_misspelt_command_is_named_with_the_right_one(tmp_path):
    done = paradise("trian", cwd=tmp_path)
    assert done.returncode == 2
    assert "No such command 'trian'" in done.stdout and "Did you mean" in done.stdout and "'train'" in done.stdout


def refused(done: subprocess.CompletedProcess, message: str) -> None:
    """Exit code 2 and one line: `message`."""
    assert (done.returncode, done.stdout) == (2, f"error: {message}\n")


def test_the_steps_one_by_one(project):
    train = paradise("train", "resnet18", "--preset", "mine.yaml", cwd=project)
    assert train.returncode == 0, train.stdout
    assert "resnet18 seed 0: epoch 1/1, loss " in train.stdout and "images/s" in train.stdout
    folder = project / "results" / "mine" / "resnet18" / "seed0"
    for step in ("fuse", "evaluate"):
        done = paradise(step, str(folder), cwd=project)
        assert done.returncode == 0, done.stdout
    assert {path.name for path in folder.iterdir()} == {
        *("weights.safetensors", "log.csv", "run.json"),
        *("fused.safetensors", "fused.json"),
        *("evaluation.json", "metrics.json", "predictions.csv.xz"),
    }


def test_prepare_writes_the_data(project):
    shutil.rmtree(project / "digits")
    done = paradise("prepare", "--preset", "mine.yaml", cwd=project)
    assert (done.returncode, done.stdout) == (0, "digits: 80 train images, 80 val images\n")
    assert (project / "digits" / "manifest.csv").exists() and (project / "digits" / "prepared.json").exists()


def test_models_are_counted_without_a_study(tmp_path):
    done = paradise("complexity", "resnet18", "pd_a_resnet18", "--output", "c.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert list(json.loads((tmp_path / "c.json").read_text())["rows"]) == ["resnet18", "pd_a_resnet18"]


def test_what_is_not_said_is_the_presets(project):
    done = paradise("complexity", "--preset", "mine.yaml", cwd=project)
    assert (done.returncode, done.stdout) == (0, "")
    record = json.loads((project / "results" / "mine" / "profile" / "complexity.json").read_text())
    assert (record["preset"], list(record["rows"])) == ("mine", ["resnet18"])
    for options, rounds in (((), 1), (("--rounds", "2"), 2)):
        assert paradise("latency", "--preset", "mine.yaml", *options, cwd=project).returncode == 0
        record = json.loads((project / "results" / "mine" / "profile" / "latency.json").read_text())
        assert record["settings"] == {"models": ["resnet18"], "rounds": rounds, "threads": 1}


BRANCHES = "standard1, standard2, skeleton, group"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "resnet81"), "unknown model 'resnet81'; did you mean 'resnet18'?"),
        (("train", "pd_a_resnet18-standard1-grup"), "unknown branch 'grup' of 'pd_a_resnet18'; did you mean 'group'?"),
        (("train", "resnet18-standard1"), "'resnet18' has no branches to choose; only pd_a_ and pd_b_ models do"),
        (("train", "pd_b_resnet18-standard1-xyz"), f"unknown branch 'xyz' of 'pd_b_resnet18'; choose from {BRANCHES}"),
        (
            ("latency", "resnet18", "resnet34", "--output", "l.json"),
            "unknown model 'resnet34'; did you mean 'resnet50'?",
        ),
        (
            ("complexity", "pd_resnet50", "--output", "c.json"),
            "unknown model 'pd_resnet50'; did you mean 'pd_b_resnet50'?",
        ),
        (
            ("import-checkpoint", "x.pth", "--model", "pd_c_resnet18"),
            "unknown model 'pd_c_resnet18'; did you mean 'pd_b_resnet18'?",
        ),
        (("fuse", "nowhere"), "no run at nowhere/run.json; train the row first"),
        (("evaluate", "nowhere"), "no run at nowhere/run.json; train the row first"),
        (
            ("export", "resnet19", "w.safetensors", "--output", "m.onnx"),
            "unknown model 'resnet19'; did you mean 'resnet18'?",
        ),
        (("export", "resnet18", "w.safetensors", "--output", "m.pt2"), "no weights at w.safetensors"),
        (("tables", "imagnet"), "unknown table 'imagnet'; did you mean 'imagenet'?"),
        (("tables", "detection"), "mine.yaml has no section 'detection'; config/digits.yaml shows one"),
        (("detection", "prepare"), "mine.yaml has no section 'detection'; config/digits.yaml shows one"),
        (("evidence", "train", "fusd"), "unknown start 'fusd'; did you mean 'fused'?"),
        (("evidence", "make", "lotery"), "unknown piece of evidence 'lotery'; did you mean 'lottery'?"),
    ],
)
def test_wrong_names_are_refused(project, arguments, message):
    without = ("fuse", "evaluate", "export")
    extra = () if arguments[0] in without else ("--preset", "mine.yaml")
    before = sorted(project.rglob("*"))
    refused(paradise(*arguments, *extra, cwd=project), message)
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("m.tflite",), "'m.tflite' should end in .onnx or .pt2"),
        (("m.onnx", "--opset", "7"), "opset 7 is not supported"),
    ],
)
def test_files_that_cannot_be_exported_are_refused(tmp_path, options, message):
    done = paradise("export", "resnet18", "w.safetensors", "--output", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.startswith("error: ") and done.stdout.count("\n") == 1 and message in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_preset_key_is_refused(project):
    text = (project / "mine.yaml").read_text().replace("momentum", "momentun")
    (project / "mine.yaml").write_text(text)
    done = paradise("train", "resnet18", "--preset", "mine.yaml", cwd=project)
    refused(done, "mine.yaml: unknown key 'training.momentun'; did you mean 'momentum'?")
    assert not (project / "results").exists()


def test_a_missing_data_folder_is_refused(project):
    shutil.rmtree(project / "digits")
    done = paradise("train", "resnet18", "--preset", "mine.yaml", cwd=project)
    refused(done, "data folder digits does not exist; run `paradise prepare` with this preset")
    assert not (project / "results").exists()


def test_a_truncated_image_is_refused_by_path(project):
    path = sorted((project / "digits" / "train" / "3").iterdir())[2]
    path.write_bytes(path.read_bytes()[:50])
    done = paradise("train", "resnet18", "--preset", "mine.yaml", cwd=project)
    wrong = f"{path.relative_to(project)} is not the image that the manifest lists; run `paradise prepare` again"
    refused(done, wrong)
    assert not (project / "results").exists()


def test_ctrl_c_leaves_a_state_and_no_traceback_and_no_output(project):
    """A hundred epochs, interrupted in their midst."""
    preset = yaml.safe_load((project / "mine.yaml").read_text())
    preset["training"]["epochs"] = 100
    (project / "mine.yaml").write_text(yaml.safe_dump(preset))
    process = subprocess.Popen(
        [sys.executable, "-m", "paradise", "train", "resnet18", "--preset", "mine.yaml"],
        cwd=project,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert "epoch 1/100" in process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in output
    written = [path.relative_to(project).as_posix() for path in project.glob("results/**/*") if path.is_file()]
    assert [path for path in written if not path.startswith("results/mine/resnet18/seed0/state/")] == []
    assert any(path.endswith(".pt") for path in written)


def test_outside_the_project_tables_say_so(project):
    shutil.rmtree(project / "data")
    done = paradise("tables", "--preset", "mine.yaml", cwd=project)
    table = project / "data" / "paper" / "ablation.csv"
    refused(done, f"the published table {table} is missing; run in a checkout of the project")


LIGHT = (
    ("--help",),
    ("train", "--help"),
    ("evidence", "make", "--help"),
    ("tables", "--preset", "mine.yaml"),
    ("status", "--preset", "mine.yaml"),
    ("settings", "--preset", "mine.yaml"),
    ("schema",),
)


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_commands_that_need_no_torch_do_not_load_it(project, arguments):
    heavy = ("torch", "nvidia.dali", "matplotlib", "mmdet") + (
        ("pandas", "scipy", "sklearn") if "--help" in arguments else ()
    )
    code = (
        f"import sys; from paradise.__main__ import main; sys.argv = {['paradise', *arguments]}\n"
        "try: main()\nexcept SystemExit as ended: assert not ended.code, ended.code\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = run(sys.executable, "-c", code, cwd=project)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
