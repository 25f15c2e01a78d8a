"""Runs that are ended, at any moment and in any way, and go on."""

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import make_preset
from test_processes import command, ended, start, wait_for, workers, write_preset

from paradise.errors import INTERRUPTED, UserError
from paradise.study.hashes import sha256
from paradise.study.rows import Row, Run
from paradise.study.training.loop import train
from paradise.study.training.state import States

pytestmark = pytest.mark.slow


def saved(output: Path) -> set[str]:
    return {path.name for path in output.glob("state/step-*.pt")}


def killed(arguments: list[str], output: Path, seconds: float) -> str:
    """Starts a run and kills all its processes so many seconds after its first new state; returns what it said."""
    before = saved(output)
    process = start(arguments)
    wait_for(lambda: saved(output) - before or process.poll() is not None)
    time.sleep(seconds)
    for number in workers(output):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    return ended(process)[1]


@pytest.mark.parametrize("processes,kills,epochs", [(1, 10, 30), (3, 3, 10)])
def test_however_often_a_run_is_killed_its_weights_are_the_same(digits, tmp_path, processes, kills, epochs):
    """`kill -9` at random moments of a run that saves after each step, so also while it writes a state."""
    preset = write_preset(tmp_path / "p.yaml", digits, epochs=epochs, batch_size=12)
    more = ("--processes", str(processes), "--save-minutes", "0")
    code, said = ended(start(command(preset, tmp_path / "whole", *more)))
    assert code == 0, said
    output, moments = tmp_path / "killed", random.Random(processes)
    said = [killed(command(preset, output, *more), output, moments.uniform(0, 0.1)) for _ in range(kills)]
    assert sum("going on from step" in words for words in said) == kills - 1
    code, said = ended(start(command(preset, output, *more)))
    assert code == 0 and "going on from step" in said
    assert sha256(output / "weights.safetensors") == sha256(tmp_path / "whole" / "weights.safetensors")
    run, whole = (json.loads((folder / "run.json").read_text()) for folder in (output, tmp_path / "whole"))
    assert (run["best"], run["sessions"]) == (whole["best"], kills + 1)
    lines = [(folder / "log.csv").read_text().splitlines() for folder in (output, tmp_path / "whole")]
    measured = [[line.split(",")[:6] for line in text] for text in lines]
    assert measured[0] == measured[1]
    assert not (output / "state").exists()


def interrupted(digits, output: Path, **recipe) -> Path:
    """A preset whose run a signal ended after a step or more, with its state in `output`."""
    preset = write_preset(output.with_suffix(".yaml"), digits, epochs=100, **recipe)
    process = start(command(preset, output, "--save-minutes", "0"))
    wait_for(lambda: saved(output))
    process.send_signal(signal.SIGUSR1)
    code, said = ended(process)
    assert code == INTERRUPTED
    assert f"SIGUSR1 ended it; the same command goes on from {output}/state/step-" in said
    return preset


def test_a_state_of_another_recipe_is_refused_unless_restarted(digits, tmp_path):
    output = tmp_path / "run"
    preset = interrupted(digits, output)
    before = saved(output)
    write_preset(preset, digits, learning_rate=0.02)
    code, said = ended(start(command(preset, output)))
    assert code == 2 and said.count("\n") == 1
    assert (
        "is of another run: training.epochs was 100 and is 1, training.learning_rate was 0.01 and is 0.02; "
        "`paradise train --restart` deletes it and begins anew, `--accept-changes` goes on all the same\n"
    ) in said
    assert saved(output) == before
    step = max(before)[5:13].lstrip("0")
    shutil.copytree(output, tmp_path / "accepted")
    code, said = ended(start(command(preset, tmp_path / "accepted", "--accept-changes")))
    assert code == 0 and f"going on from step {step} of " in said
    assert json.loads((tmp_path / "accepted" / "run.json").read_text())["accepted_changes"] == [
        f"step {step}: training.epochs was 100 and is 1, training.learning_rate was 0.01 and is 0.02"
    ]
    code, said = ended(start(command(preset, output, "--restart")))
    assert code == 0 and "going on" not in said
    assert json.loads((output / "run.json").read_text())["sessions"] == 1


def test_the_second_run_in_a_folder_is_refused(digits, tmp_path):
    output = tmp_path / "run"
    preset = write_preset(tmp_path / "p.yaml", digits, epochs=100)
    first = start(command(preset, output, "--save-minutes", "0"))
    wait_for(lambda: saved(output))
    code, said = ended(start(command(preset, output)))
    assert (code, said) == (2, f"error: another run is at work in {output}; wait until it ends\n")
    assert first.poll() is None
    first.kill()
    ended(first)


def test_half_precision_goes_on_with_its_scale(digits, tmp_path):
    """The first steps overflow and make the scale smaller: from a new scaler's, other steps would be left out."""
    preset = write_preset(tmp_path / "p.yaml", digits, epochs=3, precision="float16", batch_size=40)
    code, said = ended(start(command(preset, tmp_path / "whole")))
    assert code == 0, said
    output = tmp_path / "run"
    process = start(command(preset, output, "--save-minutes", "0"))
    wait_for(lambda: len(saved(output)) == 2)
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == INTERRUPTED
    code, said = ended(start(command(preset, output)))
    assert code == 0 and "going on from step" in said
    assert sha256(output / "weights.safetensors") == sha256(tmp_path / "whole" / "weights.safetensors")


def test_a_loss_that_is_not_finite_names_the_last_state(digits, tmp_path):
    preset = make_preset(digits, epochs=6, learning_rate=1000, warmup_epochs=0.5)
    with pytest.raises(UserError, match=rf"the loss is nan at step \d, .*; the last state is {tmp_path}/state/step-0"):
        train(Run(Row.parse("resnet18"), 0), preset, 1, tmp_path, save_minutes=0)
    assert States(tmp_path / "state", {}, "paradise train")._paths()


def test_where_the_weights_cannot_be_written_the_training_is_kept(digits, tmp_path):
    """No state was saved on the way: the last one is, before the weights."""
    preset, run, output = make_preset(digits, epochs=2), Run(Row.parse("resnet18"), 0), tmp_path / "run"
    train(run, preset, 1, tmp_path / "whole")
    (output / "weights.safetensors").mkdir(parents=True)
    with pytest.raises(UserError) as failed:
        train(run, preset, 1, output)
    last = output / "state" / "step-00000010.pt"
    assert str(failed.value) == (
        f"{output}/weights.safetensors cannot be written: Is a directory; the same command goes on from {last}"
    )
    (output / "weights.safetensors").rmdir()
    train(run, preset, 1, output)
    assert sha256(output / "weights.safetensors") == sha256(tmp_path / "whole" / "weights.safetensors")
    assert json.loads((output / "run.json").read_text())["sessions"] == 2
    assert sorted(path.name for path in output.iterdir()) == ["log.csv", "run.json", "weights.safetensors"]
