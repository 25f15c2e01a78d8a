"""Commands of a copy of the project that are ended, run beside each other, or run where something cannot be used.

Each function tries one thing and returns what was wrong, in words: nothing where all is right or refused in one line.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml
from conftest import copy_project

from paradise.errors import INTERRUPTED
from paradise.study.hashes import sha256

RUN = Path("results/faults/resnet18/seed0")
PRESET = Path("config/faults.yaml")
TARGET = ("snakemake", str(RUN / "run.json"), "--cores", "1", "--configfile", str(PRESET))
TRAIN = ("paradise", "train", "resnet18", "--preset", str(PRESET))
LOG = Path("results/faults/logs/train/resnet18-seed0.log")
ONE_LINE = re.compile(r"error: [^\n]+\n\Z")
NOISE = (
    "Using workflow specific profile",
    "Assuming unrestricted",
    "Building DAG",
    "Using shell",
    "Failed to setup log",
)


class Project:
    """A copy of the project with a small preset and its data, and the weights that an undisturbed training gives."""

    def __init__(self, folder: Path):
        self.folder = copy_project(folder)
        values = yaml.safe_load((folder / "config" / "smoke.yaml").read_text())
        values |= {"rows": ["resnet18"]}
        values["data"] |= {"folder": "data/faults", "per_class": 4}
        values["training"] |= {"epochs": 4, "batch_size": 20}
        (folder / PRESET).write_text(yaml.safe_dump(values))
        self.done("paradise", "prepare", "--preset", str(PRESET))
        self.done(*TRAIN, "--output", "whole")
        self.weights = sha256(folder / "whole" / "weights.safetensors")
        for git in (("init", "-q"), ("add", "--all"), ("commit", "-q", "-m", "as it is")):
            self.done("git", "-c", "user.name=test", "-c", "user.email=test@localhost", *git)

    def start(self, *command: str, **options: object) -> subprocess.Popen:
        """Starts a command of this project as a session of its own, its words in `stdout`."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(self.folder / "src")} | options.pop("env", {})
        outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | options
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            text=True,
            errors="replace",
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            **outputs,
        )

    def done(self, *command: str, **options: object) -> tuple[int, str]:
        """A command's exit code, and what it said."""
        process = self.start(*command, **options)
        words, _ = process.communicate(timeout=600)
        return process.returncode, words or ""

    def clean(self) -> None:
        """Removes all results of the preset."""
        for name in ("results/faults", ".snakemake"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def fuse(self) -> None:
        """Makes the run and its fused form, where they are not there."""
        if not (self.folder / RUN / "fused.json").exists():
            self.done(*TRAIN)
            self.done("paradise", "fuse", str(RUN))

    def wrong(self, folder: Path = RUN) -> list[str]:
        """What is wrong with a training that has come to its end."""
        if not (self.folder / folder / "run.json").exists():
            return ["the run is lost"]
        faults = [] if sha256(self.folder / folder / "weights.safetensors") == self.weights else ["other weights"]
        kept = {"log.csv", "run.json", "weights.safetensors"}
        litter = [path.name for path in (self.folder / folder).iterdir() if path.name not in kept]
        return faults + ([f"litter: {', '.join(litter)}"] if litter else [])

    def sessions(self) -> int:
        """How often Snakemake's training has begun at its first step."""
        return (self.folder / LOG).read_text().count("epoch 1/")


def refused(code: int, words: str) -> bool:
    """Whether a command, or Snakemake's training, said in one line why it does not do what it was asked for."""
    if code == 1 and "error: another run is at work in" in words and "Traceback" not in words:
        return True
    own = "".join(f"{line}\n" for line in words.splitlines() if line and not line.startswith(NOISE))
    return code == 2 and bool(ONE_LINE.match(own))


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether `condition` comes to be true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def end_snakemake(project: Project, chance: random.Random, number: int, all_of_it: bool = False) -> list[str]:
    """Sends a signal to Snakemake, or to its jobs as well, while it trains, and gives the same command again.

    A Snakemake that was ended alone leaves its training at work, which must go on and be trained once.
    """
    project.clean()
    log = project.folder / LOG
    first = project.start(*TARGET)
    if not wait_for(lambda: log.exists() or first.poll() is not None):
        return ["it does not begin"]
    time.sleep(chance.uniform(0, 8))
    code, words = project.done(*TARGET)
    faults = [] if first.poll() is not None or refused(code, words) else [f"a second snakemake: {code}, {words[-300:]}"]
    if first.poll() is None:
        (os.killpg if all_of_it else os.kill)(first.pid, number)
    said, _ = first.communicate(timeout=300)
    if "Traceback" in said:
        faults.append(f"a traceback: {said[-500:]}")
    if "not run" in said:
        faults.append("tables of a run that was ended")
    code, words = project.done(*TARGET)
    if code:
        faults.append(f"the same command: exit code {code}, {words[-500:]}")
    if not all_of_it and project.sessions() != 1:
        faults.append(f"trained {project.sessions()} times")
    return faults + project.wrong()


PAIRS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train and train": (TRAIN, TRAIN),
    "prepare and prepare": (("paradise", "prepare", "--preset", str(PRESET)),) * 2,
    "tables and tables": (("paradise", "tables", "--preset", str(PRESET)),) * 2,
    "report and report": (("paradise", "report", "--preset", str(PRESET)),) * 2,
    "fuse and fuse": (("paradise", "fuse", str(RUN)),) * 2,
    "report and evaluate": (("paradise", "report", "--preset", str(PRESET)), ("paradise", "evaluate", str(RUN))),
    "tables and train": (("paradise", "tables", "--preset", str(PRESET)), TRAIN),
    "push and pull": (("paradise", "push"), ("paradise", "pull")),
    "push and push": (("paradise", "push"),) * 2,
    "snakemake and snakemake": (TARGET, TARGET),
    "snakemake and train": (TARGET, TRAIN),
}


def run_two(project: Project, chance: random.Random, pair: str) -> list[str]:
    """Runs two commands at once: one does its work, and the other as well, or it is refused."""
    trains = bool({TRAIN, TARGET} & set(PAIRS[pair]))
    project.clean() if trains else project.fuse()
    first = project.start(*PAIRS[pair][0])
    time.sleep(chance.uniform(0, 3))
    second = project.start(*PAIRS[pair][1])
    ended = [(process.communicate(timeout=600)[0], process.returncode) for process in (first, second)]
    faults = [f"{pair}: exit code {code}, {words[-500:]}" for words, code in ended if code and not refused(code, words)]
    if all(code for _, code in ended):
        faults.append(f"{pair}: neither did its work")
    if left := [str(path) for path in project.folder.glob("results/**/.*.part")]:
        faults.append(f"{pair}: litter {left}")
    return faults + ([f"{pair}: {fault}" for fault in project.wrong()] if trains else [])


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "a HOME that is none": {"HOME": "/proc/none"},
    "a TMPDIR that cannot be written": {"TMPDIR": "/proc"},
    "40 columns": {"COLUMNS": "40"},
    "32 columns": {"COLUMNS": "32"},
    "LC_ALL=C": {"LC_ALL": "C"},
    "another encoding": {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"},
    "NO_COLOR": {"NO_COLOR": "1"},
    "TERM=dumb": {"TERM": "dumb"},
}
COMMANDS = {
    "status": ("paradise", "status", "--preset", str(PRESET)),
    "tables": ("paradise", "tables", "--preset", str(PRESET)),
    "report": ("paradise", "report", "--preset", str(PRESET)),
    "train": (*TRAIN, "--output", "elsewhere"),
    "snakemake": (*TARGET, "-n"),
    "snakemake, at work": (*TARGET, "--force"),
}


def run_in(project: Project, environment: str, command: str) -> list[str]:
    """Runs a command where the environment is another; it does its work as ever."""
    code, words = project.done(*COMMANDS[command], env=ENVIRONMENTS[environment])
    if code or "Traceback" in words or "Error" in words:
        return [f"{command} with {environment}: exit code {code}, {words[-500:]}"]
    return []


def print_into(project: Project, command: str) -> list[str]:
    """Runs a command whose output nobody can take: a full disk, a reader that has gone."""
    faults = []
    with open("/dev/full", "w") as full:
        process = project.start(*COMMANDS[command], stdout=full, stderr=subprocess.PIPE)
        words = process.communicate(timeout=600)[1]
        if process.returncode and not refused(process.returncode, words):
            faults.append(f"{command} > /dev/full: exit code {process.returncode}, {words[-500:]}")
    read, write = os.pipe()
    os.close(read)
    process = project.start(*COMMANDS[command], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    words = process.communicate(timeout=600)[1]
    if "Traceback" in words or "Exception" in words:
        faults.append(f"{command} | true: exit code {process.returncode}, {words[-500:]}")
    return faults


def fill_disk(project: Project, chance: random.Random, disk: Path) -> list[str]:
    """Fills a file system of 500 MB at a random moment of a training; when there is room, the same command goes on.

    Nothing that was saved is lost, and a training that came to its last step is not trained again.
    """
    filler, output = disk / "filler", disk / "run"
    train = (*TRAIN, "--output", str(output), "--save-minutes", str(chance.choice((0, 10))))
    process = project.start(*train)
    wait_for(lambda: (output / "state" / ".lock").exists() or process.poll() is not None)
    time.sleep(chance.uniform(0, 4))
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with suppress(OSError), filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - chance.randrange(120_000_000), 1))
    words, _ = process.communicate(timeout=600)
    faults, saved = [], sorted(path.name for path in output.glob("state/step-*.pt"))
    if process.returncode not in (0, INTERRUPTED) and not ONE_LINE.search(words):
        faults.append(f"exit code {process.returncode}, {words[-500:]}")
    if "Traceback" in words:
        faults.append(words[-500:])
    if process.returncode and saved and saved[-1] not in words:
        faults.append(f"{saved[-1]} was kept, and is not named: {words[-300:]}")
    filler.unlink(missing_ok=True)
    code, words = project.done(*train)
    if code or (saved and "going on from step" not in words):
        faults.append(f"when there is room: exit code {code}, {words[-500:]}")
    faults += project.wrong(output)
    shutil.rmtree(output)
    return faults
