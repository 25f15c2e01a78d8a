"""How a study grows: `python benchmarks/growth.py [--runs 1000]`. What its commands take with so many runs.

The study is made of the published one's records, once `paradise pull` has brought them: each run again and again, as if
it had been made with other seeds.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from common import write

from paradise.errors import UserError
from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.records import Record, write_record
from paradise.study.steps import Job, all_steps

PUBLISHED = Path("config/digits.yaml")
PROJECT = (
    "config",
    "data/paper",
    "workflow",
    "profiles",
    "Snakefile",
    "CITATION.cff",
    "src",
    ".dvcignore",
    ".gitignore",
    "pyproject.toml",
)
RUNS = ("train", "fuse", "evaluate")  # steps that are once for each seed
ONCE = ("complexity", "latency", "prepare")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    published = Preset.load(PUBLISHED)
    seeds = -(-parser.parse_args().runs // len(published.classifiers))
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        _copy_project(project)
        home = Path.cwd()
        os.chdir(project)
        _copy_records(home, published, _write_preset(seeds))
        lines = _measure(project)
        os.chdir(home)
    runs = len(published.classifiers) * seeds
    notes = [f"{len(published.classifiers)} rows with {seeds} seeds each, {runs} runs; one call each, whole processes."]
    write("growth", f"A study of {runs} runs", lines, notes)


def _copy_project(project: Path) -> None:
    for name in PROJECT:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if Path(name).is_dir() and not Path(name).is_symlink() else shutil.copy2
        copy(name, project / name, **({} if copy is shutil.copytree else {"follow_symlinks": False}))


def _write_preset(seeds: int) -> Preset:
    """The published study's preset with so many seeds, and without detectors."""
    values = yaml.safe_load(PUBLISHED.read_text()) | {"seeds": list(range(seeds))}
    del values["detection"]
    PUBLISHED.write_text(yaml.safe_dump(values))
    return Preset.load(PUBLISHED)


def _copy_records(home: Path, published: Preset, grown: Preset) -> None:
    """Every record of `grown`, and the small files beside it, from that of the published study's first seed.

    A line of text stands for each run's weights.
    """
    steps = all_steps()
    for step in (*ONCE, *RUNS):
        for job in steps[step].of(grown):
            wildcards = {key: _first(published, key, value) for key, value in job.wildcards.items()}
            _copy(home, steps[step].job(published, **wildcards), job)


def _first(published: Preset, key: str, value: str) -> str:
    """The wildcard of the published run that a run of any seed is copied from."""
    return {"seed": str(published.seeds[0]), "run": f"seed{published.seeds[0]}"}.get(key, value)


def _copy(home: Path, source: Job, target: Job) -> None:
    if not (home / source.record).exists():
        raise UserError(f"{source.record} is missing; `paradise pull` fetches it")
    target.record.parent.mkdir(parents=True, exist_ok=True)
    for old, new in zip(source.outputs[:-1], target.outputs[:-1]):
        if new.name in target.step.weights:
            new.write_text(f"In place of the weights of {target}")
        else:
            shutil.copy2(home / old, new)
    values = json.loads((home / source.record).read_text())
    schema: type[Record] = target.step.schema
    outputs = {name: sha256(path) for name, path in target.vouched.items() if path.exists()}
    inputs = {name: sha256(path) for name, path in target.inputs.items() if path.exists()}
    changes = {
        "of": dict(target.wildcards),
        "settings": target.settings,
        "inputs": values["inputs"] | inputs,
        "outputs": values["outputs"] | outputs,
    }
    write_record(target.record, schema, {key: of for key, of in values.items() if key != "seal"} | changes)


def _measure(project: Path) -> list[dict[str, str]]:
    """What each command takes: a line each."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["dvc", "init", "--quiet"], check=True)
    for remote in ("study", "weights"):
        subprocess.run(
            ["dvc", "remote", "add", "--quiet", remote, str(project / ".dvc" / "remotes" / remote)], check=True
        )
    commands = {
        "tables": ["paradise", "tables", "imagenet", "ablation"],
        "claims": ["paradise", "tables", "claims"],
        "report": ["paradise", "report"],
        "snakemake -n": ["snakemake", "-n", "--quiet"],
        "dvc-yaml": ["paradise", "dvc-yaml"],
        "push": ["paradise", "push"],
        "pull": ["paradise", "pull"],
    }
    lines = []
    for name, command in commands.items():
        if name == "pull":
            _forget_records()
        began = time.perf_counter()
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": "src"}, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - began
        if done.returncode:
            raise UserError(f"`{' '.join(command)}` ended with {done.returncode}")
        lines.append({"command": f"`{' '.join(command)}`", "seconds": f"{took:.1f}"})
    size = Path("results/digits/report.html").stat().st_size
    return [*lines, {"command": "size of the report, MB", "seconds": f"{size / 1e6:.1f}"}]


def _forget_records() -> None:
    """Leaves the project as a fresh clone has it: what git keeps, and the remotes."""
    subprocess.run(["git", "add", "--all"], check=True)
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-m", "x"], check=True)
    shutil.rmtree("results/digits")
    shutil.rmtree(".dvc/cache")
    subprocess.run(["git", "checkout", "--quiet", "."], check=True)


if __name__ == "__main__":
    main()
