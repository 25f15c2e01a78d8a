"""The command line as a user meets it: separate processes, their messages and exit codes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import PAPER, run

from paradise.errors import INTERRUPTED


def paradise(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return run(sys.executable, "-m", "paradise", *arguments, cwd=cwd, check=False)


@pytest.fixture
def project(tmp_path, preset, digits) -> Path:
    """A folder with a preset and prepared data."""
    shutil.copytree(digits, tmp_path / "digits")
    preset["data"]["folder"] = "digits"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(preset))
    return tmp_path


def refused(done: subprocess.CompletedProcess, message: str) -> None:
    """Exit code 2 and one line that says `message`."""
    assert done.returncode == 2, done.stdout
    assert done.stdout.startswith("error: ") and done.stdout.count("\n") == 1, done.stdout
    assert message in done.stdout


def test_the_steps_one_by_one(project):
    train = paradise("train", "resnet18", "--preset", "mine.yaml", cwd=project)
    assert train.returncode == 0, train.stdout
    assert "resnet18 seed 0: epoch 1/1, loss " in train.stdout and "images/s" in train.stdout
    folder = project / "results" / "mine" / "resnet18" / "seed0"
    for step in ("fuse", "evaluate"):
        done = paradise(step, str(folder), cwd=project)
        assert done.returncode == 0, done.stdout
    assert {path.name for path in folder.iterdir()} == {
        "weights.safetensors", "log.csv", "run.json", "fused.safetensors",
        "evaluation.json", "metrics.json", "predictions.csv",
    }  # fmt: skip


def test_prepare_writes_the_data(project):
    shutil.rmtree(project / "digits")
    assert "digits: 1437 train images, 360 val images" in paradise(
        "prepare", "--preset", "mine.yaml", cwd=project
    ).stdout  # fmt: skip
    assert (project / "digits" / "manifest.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "resnet81"), "unknown model 'resnet81'; did you mean 'resnet18'?"),
        (("train", "pd_a_resnet18-standard1-grup"), "unknown branch 'grup' of 'pd_a_resnet18'; did you mean 'group'?"),
        (("latency", "resnet18", "vgg11", "--output", "latency.json"), "unknown model 'vgg11'"),
        (("complexity", "pd_resnet50", "--output", "c.json"), "did you mean 'pd_b_resnet50'?"),
        (("fuse", "nowhere"), "no run at nowhere/run.json; train the row first"),
        (("export", "resnet19", "w.safetensors", "--output", "m.onnx"), "unknown model 'resnet19'"),
        (("export", "resnet18", "w.safetensors", "--output", "m.tflite"), "'m.tflite' should end in .onnx or .pt2"),
        (("export", "resnet18", "w.safetensors", "--output", "m.onnx", "--opset", "7"), "opset 7 is not supported"),
        (("export", "resnet18", "w.safetensors", "--output", "m.pt2"), "no weights at w.safetensors"),
    ],
)
def test_wrong_names_are_refused(project, arguments, message):
    extra = ("--preset", "mine.yaml") if arguments[0] == "train" else ()
    before = sorted(project.rglob("*"))
    refused(paradise(*arguments, *extra, cwd=project), message)
    assert sorted(project.rglob("*")) == before


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
    assert done.returncode == 2
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"error: {path.relative_to(project)} is not the image that the manifest lists")
    assert "Traceback" not in done.stdout
    assert not (project / "results").exists()


def test_ctrl_c_leaves_a_state_and_no_traceback_and_no_output(project):
    """A hundred epochs, interrupted in their midst."""
    preset = yaml.safe_load((project / "mine.yaml").read_text())
    preset["training"]["epochs"] = 100
    (project / "mine.yaml").write_text(yaml.safe_dump(preset))
    process = subprocess.Popen(
        [sys.executable, "-m", "paradise", "train", "resnet18", "--preset", "mine.yaml"],
        cwd=project, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
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
    refused(paradise("tables", "--preset", "mine.yaml", cwd=project), "data/paper/imagenet.csv is missing; run in the")


def test_commands_that_need_no_torch_do_not_load_it(project):
    shutil.copytree(PAPER, project / "data" / "paper")
    code = (
        "import sys; from paradise.study.terminal.cli import main; sys.argv = ['paradise', 'tables', '--preset', 'mine.yaml']\n"
        "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = run(sys.executable, "-c", code, cwd=project)
    assert done.stdout.splitlines()[-1] == "False"
