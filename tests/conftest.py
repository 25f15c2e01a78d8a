import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from paradise import preset as presets
from paradise.data.prepare import prepare
from paradise.names import all_rows

REPOSITORY = Path(__file__).parent.parent
PAPER = REPOSITORY / "data" / "paper"
ROWS = all_rows(PAPER)

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
    prepare({"dataset": "digits", "folder": str(folder), "per_class": 8})
    return folder


def make_preset(folder: Path, **recipe) -> dict:
    return {
        "rows": ["resnet18"],
        "seeds": [0],
        "data": {
            "dataset": "digits",
            "folder": str(folder),
            "loader": "dali",
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
        }
        | recipe,
        "latency": {"rounds": 1, "threads": 1},
    }


@pytest.fixture
def preset(digits) -> dict:
    return make_preset(digits)


@pytest.fixture
def settings(preset) -> dict:
    """A preset's `data`."""
    return preset["data"]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, digits) -> Path:
    """A folder as training and fusion leave it."""
    from paradise.runs import write_fused
    from paradise.training.loop import train

    folder = tmp_path_factory.mktemp("run")
    train("pd_b_resnet18-standard1-skeleton", make_preset(digits, epochs=2, batch_size=9), "test", 0, 1, folder)
    write_fused(folder)
    return folder


@pytest.fixture
def run_folder(finished_run, tmp_path) -> Path:
    """A copy of a finished run, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def detectors(tmp_path_factory) -> dict:
    """The digits preset with few detection images, which are made, and three iterations."""
    from paradise.detection.data import prepare as prepare_detection

    preset = yaml.safe_load((REPOSITORY / "config" / "digits.yaml").read_text())
    detection = preset["detection"]
    detection["folder"] = str(tmp_path_factory.mktemp("detection"))
    detection["images"] = {"train": 20, "val": 20}
    detection["recipe"] |= {"iterations": 3, "warmup_iterations": 2, "image_size": 64, "rois": 8, "proposals": 8}
    detection["overrides"] = {}
    detection["latency"] |= {"image_size": 64, "rounds": 2}
    prepare_detection(detection)
    return preset


@pytest.fixture(scope="session")
def backbones(tmp_path_factory) -> Path:
    """A folder with a run of each backbone, as classification leaves them, untrained."""
    from paradise.causes import hashes
    from paradise.files import write_json
    from paradise.models import create_model
    from paradise.weights import save_weights

    folder = tmp_path_factory.mktemp("backbones")
    for name in ("resnet50", "pd_a_resnet50", "pd_b_resnet50"):
        torch.manual_seed(0)
        save_weights(create_model(name, 10), folder / name / "weights.safetensors")
        files = hashes(folder / name, "weights.safetensors")
        write_json(folder / name / "run.json", {"row": name, "seed": 0, "files": files})
    return folder


MACHINE = {"processor": "Example CPU", "instructions": "AVX2", "threads": 1, "gpu": None}


@pytest.fixture
def digits_preset(monkeypatch) -> dict:
    """The digits preset, of data that are nowhere."""
    monkeypatch.chdir(REPOSITORY)
    preset = presets.load(REPOSITORY / "config" / "digits.yaml")
    preset["data"]["folder"] = "nowhere"
    return preset


@pytest.fixture
def recorded(tmp_path, digits_preset) -> Path:
    """Every row evaluated with seed 0, and the profile."""
    for index, row in enumerate(ROWS):
        write_run(tmp_path, digits_preset, row, 0, hits=340 + index)
    names = [row for row in ROWS if "-" not in row]
    counted = {"params": 11_689_512, "flops": 1_822_176_768, "macs": 1_814_073_344, "deploy_params": 11_684_712}
    timed = {"median_ms": 20.04, "quartiles_ms": [19.0, 21.0], "ratio": 1.25}
    write(tmp_path / "profile" / "complexity.json", {"rows": dict.fromkeys(names, counted)})
    write(tmp_path / "profile" / "latency.json", {"rows": dict.fromkeys(names, timed), "rounds": 9, "machine": MACHINE})
    return tmp_path


def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def write_run(results, preset, row, seed, hits):
    folder = results / row / f"seed{seed}"
    accuracy = {"top1_hits": hits, "top5_hits": 360, "top1": 100 * hits / 360, "top5": 100.0}
    write(folder / "evaluation.json", {
        "row": row, "seed": seed, "images": 360, "fused": accuracy,
        "trained": accuracy | {"top1": accuracy["top1"] - 1, "top5": 99.0},
        "logits": {"relative": 1e-6}, "files": {"weights.safetensors": "w"},
    })  # fmt: skip
    write(folder / "run.json", {
        "row": row, "recipe": presets.recipe(preset, row), "data": preset["data"] | {"train": 1437},
        "files": {"weights.safetensors": "w"}, "best": {"val_top1": 99.0}, "machine": MACHINE, "precision": "float32",
        "commit": "0123456789" * 4,
    })  # fmt: skip


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
        command, cwd=cwd, env=os.environ | {"PATH": path, "PYTHONPATH": str(cwd / "src")},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout
    return done
