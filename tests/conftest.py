import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from paradise.study.data.prepare import prepare
from paradise.study.paper import read_paper
from paradise.study.preset import Data, Preset
from paradise.study.rows import Row, Run

REPOSITORY = Path(__file__).parent.parent
PAPER = REPOSITORY / "data" / "paper"
ROWS = [row.id for row in read_paper(PAPER).rows]

torch.set_num_threads(1)


def scramble(model: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics and affine parameters of every BatchNorm far from their initial values."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, -1.5, 1.5),
                (module.bias, -1.0, 1.0),
                (module.running_mean, -1.0, 1.0),
                (module.running_var, 0.2, 4.0),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return model


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    """A prepared data set: 80 training and 80 validation digits."""
    folder = tmp_path_factory.mktemp("digits")
    prepare(make_preset(folder).data, "test")
    return folder


def preset_values(folder: Path, **training) -> dict:
    """A small preset as YAML has it: one row on the digits prepared in `folder`."""
    return {
        "rows": ["resnet18"],
        "seeds": [0],
        "data": {
            "dataset": "digits",
            "folder": str(folder),
            "loader": "dali",
            "per_class": 8,
            "image_size": 32,
            "resize": 32,
            "mean": [0.3, 0.3, 0.3],
            "std": [0.37, 0.37, 0.37],
            "augment": {"area": [1, 1], "aspect": [1, 1], "shift": 2, "flip": False},
        },
        "training": {
            "epochs": 1,
            "batch_size": 16,
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "warmup_epochs": 0.5,
            "schedule": "cosine",
            "precision": "float32",
            "width": 8,
        }
        | training,
        "latency": {"rounds": 1, "threads": 1},
    }


def make_preset(folder: Path, **training) -> Preset:
    """`preset_values` as a preset called "test"."""
    return Preset.of(preset_values(folder, **training), Path("config/test.yaml"))


def make_data(folder: Path, **changes) -> Data:
    """The `data` of `make_preset` with other values; one that is None is left out."""
    values = preset_values(folder)
    values["data"] = {key: value for key, value in (values["data"] | changes).items() if value is not None}
    return Preset.of(values, Path("config/test.yaml")).data


def changed(preset: Preset, **sections) -> Preset:
    """`preset` with other values: a section's keys are changed one by one, anything else is replaced."""
    values = preset.values()
    for name, value in sections.items():
        values[name] = values.get(name, {}) | value if isinstance(value, dict) else value
    return Preset.of(values, preset.path)


@pytest.fixture
def preset(digits) -> Preset:
    return make_preset(digits)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, digits) -> Path:
    """A folder as training and fusion leave it."""
    from paradise.study.runs import write_fused
    from paradise.study.training.loop import train

    folder = tmp_path_factory.mktemp("run")
    run = Run(Row.parse("pd_b_resnet18-standard1-skeleton"), 0)
    train(run, make_preset(digits, epochs=2, batch_size=9), 1, folder)
    write_fused(folder)
    return folder


@pytest.fixture
def run_folder(finished_run, tmp_path) -> Path:
    """A copy of a finished run, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def detectors(tmp_path_factory) -> Preset:
    """The digits preset with few detection images, which are made, and three iterations, so small that boxes remain."""
    from paradise.study.detection.data import prepare as prepare_detection

    values = yaml.safe_load((REPOSITORY / "config" / "digits.yaml").read_text())
    detection = values["detection"]
    detection["folder"] = str(tmp_path_factory.mktemp("detection"))
    detection["images"] = {"train": 20, "val": 20}
    detection["recipe"] |= {"iterations": 3, "warmup_iterations": 2, "image_size": 64, "rois": 8, "proposals": 8}
    detection["recipe"]["learning_rate"] = 1e-4
    del detection["overrides"]
    detection["latency"] |= {"image_size": 64, "rounds": 2}
    preset = Preset.of(values, Path("config/digits.yaml"))
    prepare_detection(preset.detection, preset.name)
    return preset


@pytest.fixture
def digits_preset(monkeypatch) -> Preset:
    """The digits preset, of data that are nowhere."""
    monkeypatch.chdir(REPOSITORY)
    return changed(Preset.load(REPOSITORY / "config" / "digits.yaml"), data={"folder": "nowhere"})


def copy_project(folder: Path) -> Path:
    """What git tracks, as it is in the working tree, in `folder`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        source, target = REPOSITORY / name, folder / name
        if name and source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return folder


def run(*command: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess:
    """A command of this environment in `cwd`, with the package that lies there; its output in `stdout`, no terminal."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(cwd / "src")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout
    return done
