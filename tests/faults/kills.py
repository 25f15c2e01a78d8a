"""Trainings that are killed at random moments: forks of a process that has loaded all there is to load, for speed.

All of it is the study's own but the network, which is small: loop, data loaders, processes, states.
"""

import mmap
import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import torch
import torch._inductor  # loaded by torch's deterministic mode
from conftest import changed, make_preset
from torch import nn

from paradise.study.data.loaders import dali, memory  # noqa: F401  loaded before the processes fork
from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.rows import Row, Run
from paradise.study.training import loop

PHASES = ("starting", "a step", "saving", "evaluating", "writing results", "removing states")
RESULTS = ["log.csv", "run.json", "weights.safetensors"]
SECONDS = 60  # that no training here takes

_phase = mmap.mmap(-1, 1)  # where the first process is, as seen by the one that kills it


class Tiny(nn.Module):
    """A network that takes no time: a convolution, a BatchNorm and a classifier."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 4, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


@dataclass
class Kills:
    """What came of trainings that were killed."""

    kills: Counter[str] = field(default_factory=Counter)  # by what the training was doing
    finished: int = 0
    faults: list[str] = field(default_factory=list)


def watch_phases() -> None:
    """Makes a training say, in memory that is shared, what it is doing; and trains the small network."""
    Row.build = lambda self, num_classes=1000, width=64: Tiny(num_classes)  # type: ignore[method-assign]
    for owner, name, phase in (
        (loop.Training, "train_step", "a step"),
        (loop.Training, "save", "saving"),
        (loop, "validate", "evaluating"),
        (loop.Training, "write", "writing results"),
        (loop.States, "remove", "removing states"),
    ):
        setattr(owner, name, _in_phase(getattr(owner, name), PHASES.index(phase)))


def _in_phase(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    @wraps(function)
    def marked(*arguments: Any, **named: Any) -> Any:
        before, _phase[0] = _phase[0], number
        try:
            return function(*arguments, **named)
        finally:
            _phase[0] = before

    return marked


def start(preset: Preset, output: Path, size: int) -> list[int]:
    """Starts the processes of a training, as torchrun does; returns their numbers, the first one's first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _phase[0] = 0
    return [_fork(preset, output, rank, size, port) for rank in range(size)]


def _fork(preset: Preset, output: Path, rank: int, size: int, port: int) -> int:
    if number := os.fork():
        return number
    code = 70
    try:
        log = os.open(output.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if size > 1:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
        loop.train(Run(Row.parse("resnet18"), 0), preset, size, output, 0, save_minutes=0)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def end(numbers: list[int], seconds: float = SECONDS) -> list[int]:
    """The exit codes of processes that are waited for, negative where a signal ended one; killed where they hang."""
    codes, until = {}, time.monotonic() + seconds
    while len(codes) < len(numbers):
        for number in set(numbers) - codes.keys():
            found, status = os.waitpid(number, os.WNOHANG)
            if found:
                codes[number] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                os.kill(number, signal.SIGKILL)
        time.sleep(0.002)
    return [codes[number] for number in numbers]


def kill_many(folder: Path, digits: Path, loader: str, size: int, tries: int, seed: int = 0) -> Kills:
    """Kills `tries` processes, or pairs, of trainings that begin anew when they have come to their end.

    Args:
        folder: Where to train.
        digits: A folder with prepared digits.
        loader: "memory" or "dali".
        size: How many processes a training has.
        tries: How often to kill.
        seed: Of the moments.
    """
    chance, kills = random.Random(f"{loader} {size} {seed}"), Kills()
    preset = changed(make_preset(digits, epochs=3), data={"loader": loader})
    began = time.monotonic()
    if any(end(start(preset, folder / "whole", size))):
        kills.faults.append("the undisturbed run failed: " + (folder / "whole.log").read_text()[-500:])
        return kills
    takes, expected = time.monotonic() - began, sha256(folder / "whole" / "weights.safetensors")
    output, sessions = folder / "killed", 1
    while kills.kills.total() < tries:
        numbers = start(preset, output, size)
        time.sleep(chance.uniform(0, takes))
        doing = PHASES[_phase[0]]
        doomed = numbers if chance.random() < 0.5 else [chance.choice(numbers)]
        for number in doomed:
            os.kill(number, signal.SIGKILL)
        for number in set(numbers) - set(doomed):  # as torchrun does where one has died
            os.kill(number, signal.SIGTERM)
        codes = end(numbers)
        if any(codes):
            kills.kills[doing] += 1
            sessions += 1
            kills.faults += _half(output, expected)
            if _stuck(output, sessions):
                kills.faults.append(f"after {sessions} sessions it has not come to its end")
                return kills
            continue
        kills.finished += 1
        kills.faults += _wrong(output, expected)
        shutil.rmtree(output)
        sessions = 1
    if any(codes := end(start(preset, output, size))):
        kills.faults.append(f"the last run failed with {codes}: " + output.with_suffix(".log").read_text()[-500:])
    else:
        kills.finished += 1
        kills.faults += _wrong(output, expected)
    return kills


def _half(output: Path, expected: str) -> list[str]:
    """What is wrong with what a killed training left: weights are whole, or are not there."""
    weights = output / "weights.safetensors"
    return ["half weights"] if weights.exists() and sha256(weights) != expected else []


def _stuck(output: Path, sessions: int) -> bool:
    return sessions > 200


def _wrong(output: Path, expected: str) -> list[str]:
    """What is wrong with what a training left at its end."""
    faults = []
    if sha256(output / "weights.safetensors") != expected:
        faults.append("other weights than the undisturbed run's")
    if litter := sorted(path.name for path in output.iterdir() if path.name not in RESULTS):
        faults.append(f"litter: {', '.join(litter)}")
    return faults
