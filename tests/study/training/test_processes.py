"""Runs of several processes: real ones, started by torchrun, that talk through gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPOSITORY, make_data, make_preset, preset_values
from safetensors.torch import load_file

from paradise.errors import INTERRUPTED, UserError
from paradise.study.data.prepare import prepare
from paradise.study.rows import Row, Run
from paradise.study.training.loop import Training
from paradise.study.training.processes import Processes

pytestmark = pytest.mark.slow
ALONE = Processes(0, 1, torch.device("cpu"))


def write_preset(path: Path, digits: Path, **recipe) -> Path:
    path.write_text(yaml.safe_dump(preset_values(digits, **recipe)))
    return path


def command(preset: Path, output: Path, *more: str) -> list[str]:
    return ["-m", "paradise", "train", "resnet18", "--preset", str(preset), "--output", str(output), *more]


def start(arguments: list[str], **options) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        cwd=REPOSITORY,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )


def ended(process: subprocess.Popen, seconds: float = 120) -> tuple[int, str]:
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def test_one_process_alone_reduces_to_itself():
    assert ALONE.sums(3, 0.5) == [3, 0.5]
    assert ALONE.any(True, False) == [True, False]


@pytest.mark.parametrize("processes", [2, 3])
def test_fewer_processes_make_the_same_steps(digits, tmp_path, processes):
    """Accumulated passes against processes: the weights agree to rounding, and so do loss, hits and what is evaluated.

    `memory` gives the images of a step in the same order however they are shared out; one pass of each BatchNorm is
    over 4 images either way.
    """
    preset = write_preset(tmp_path / "p.yaml", digits, batch_size=24, device_batch_size=4, learning_rate=1e-3)
    content = yaml.safe_load(preset.read_text())
    content["data"]["loader"] = "memory"
    preset.write_text(yaml.safe_dump(content))
    for name, count in (("one", 1), ("several", processes)):
        code, output = ended(start(command(preset, tmp_path / name, "--processes", str(count))))
        assert code == 0, output
    one, several = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "several"))
    assert one["batch"] == {"size": 24, "processes": 1, "passes": 6, "images": 4}
    assert several["batch"] == {"size": 24, "processes": processes, "passes": 6 // processes, "images": 4}
    parameters = load_file(tmp_path / "one" / "weights.safetensors")
    for key, value in load_file(tmp_path / "several" / "weights.safetensors").items():
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(value, parameters[key], rtol=1e-3, atol=1e-5)
    a, b = ((tmp_path / name / "log.csv").read_text().splitlines()[1].split(",") for name in ("one", "several"))
    assert float(a[2]) == pytest.approx(float(b[2]), rel=1e-4)  # loss
    assert a[3] == b[3]  # hits


def test_torchrun_itself_does(digits, tmp_path):
    preset = write_preset(tmp_path / "p.yaml", digits)
    arguments = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    code, output = ended(start([*arguments, *command(preset, tmp_path / "a")]))
    assert code == 0, output
    code, output = ended(start(command(preset, tmp_path / "b", "--processes", "2")))
    assert code == 0, output
    a, b = (load_file(tmp_path / name / "weights.safetensors") for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_an_error_of_all_is_said_once(digits, tmp_path):
    preset = write_preset(tmp_path / "p.yaml", digits)
    code, output = ended(start(command(preset, tmp_path / "run", "--processes", "3")))
    assert code == 2
    assert output == "error: batch_size 16 is no multiple of 3 processes × 5 images; change one of the three\n"
    assert not (tmp_path / "run").exists()


def test_far_too_many_processes_are_refused_before_they_start(digits, tmp_path):
    preset = write_preset(tmp_path / "p.yaml", digits)
    began = time.monotonic()
    code, output = ended(start(command(preset, tmp_path / "run", "--processes", "10000")))
    assert code == 2 and output.startswith("error: batch_size 16 is no multiple of 10000 processes")
    assert time.monotonic() - began < 30


def test_more_processes_than_validation_images_are_refused(tmp_path):
    data = make_data(tmp_path / "digits", per_class=None)
    prepare(data, "test")
    preset = make_preset(tmp_path / "digits", batch_size=722).model_copy(update={"data": data})
    with pytest.raises(UserError, match=r"^361 processes are more than the 360 validation images$"):
        Training(Run(Row.parse("resnet18"), 0), preset, 1, tmp_path / "run", Processes(360, 361, torch.device("cpu")))


def workers(output: Path) -> list[int]:
    """Process numbers of the run that writes into `output`, the launcher's last."""
    found = subprocess.run(["pgrep", "--full", "--", f"--output {output}"], capture_output=True, text=True)
    return sorted(map(int, found.stdout.split()), reverse=True)


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_gpus_and_processes_must_agree(digits, tmp_path):
    preset = write_preset(tmp_path / "p.yaml", digits)
    code, output = ended(start(command(preset, tmp_path / "run", "--processes", "3", "--gpus", "2")))
    assert code == 2 and output.startswith("error: --gpus 2 and --processes 3: each process has one GPU")


def test_where_a_process_dies_the_others_end_and_nothing_is_lost(digits, tmp_path):
    preset = write_preset(tmp_path / "p.yaml", digits, epochs=100)
    output = tmp_path / "run"
    process = start(command(preset, output, "--processes", "2", "--save-minutes", "0"))
    wait_for(lambda: len(list(output.glob("state/step-*.pt"))) == 2)
    killed = time.monotonic()
    os.kill(workers(output)[0], signal.SIGKILL)
    code, said = ended(process, 60)
    assert code == 1 and time.monotonic() - killed < 60
    assert "of 2 was killed" in said
    assert not workers(output)
    assert len(list(output.glob("state/step-*.pt"))) == 2


def test_where_the_launcher_is_killed_its_processes_end(digits, tmp_path):
    preset = write_preset(tmp_path / "p.yaml", digits, epochs=100)
    output = tmp_path / "run"
    process = start(command(preset, output, "--processes", "2", "--save-minutes", "0"))
    wait_for(lambda: list(output.glob("state/step-*.pt")))
    process.kill()
    process.wait()
    wait_for(lambda: not workers(output), 30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_launcher_saves_and_ends_with_its_own_code(digits, tmp_path, number):
    preset = write_preset(tmp_path / "p.yaml", digits, epochs=100)
    output = tmp_path / "run"
    process = start(command(preset, output, "--processes", "2", "--save-minutes", "0"))
    wait_for(lambda: list(output.glob("state/step-*.pt")))
    process.send_signal(number)
    code, said = ended(process, 60)
    assert code == INTERRUPTED
    name = "SIGINT" if number == signal.SIGINT else "SIGTERM"
    assert f"{name} ended it; the same command goes on from {output}/state/step-" in said
    assert not workers(output)
