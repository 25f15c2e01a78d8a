"""What tests of detectors share: backbones as classification leaves them, and a folder to run commands in."""

import os
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from conftest import REPOSITORY
from torch import nn

from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.provenance import begin_record
from paradise.study.records import Trained, write_record
from paradise.study.rows import Row
from paradise.weights import save_weights

BACKBONES = ("resnet50", "pd_a_resnet50", "pd_b_resnet50")


def write_backbones(results: Path) -> Path:
    """A run of each backbone below `results`, untrained, with statistics of images, which detectors keep."""
    for name in BACKBONES:
        torch.manual_seed(0)
        folder = results / name / "seed0"
        network = Row.parse(name).build(10)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean of what was seen, instead of a tenth of it
        with torch.no_grad():
            network.train()(torch.randn(4, 3, 64, 64))
        save_weights(network, folder / "weights.safetensors")
        settings = {"recipe": {"batch_size": 2}, "data": {}}
        record = begin_record("train", "small", {"row": name, "seed": "0"}, settings, {}, ["paradise.names"])
        measured = {
            "outputs": {"weights.safetensors": sha256(folder / "weights.safetensors")},
            "num_classes": 10,
            "images": {"train": 2, "val": 2},
            "data_folder": "nowhere",
            "data_source": None,
            "precision": "float32",
            "batch": {"size": 2, "processes": 1, "passes": 1, "images": 2},
            "sessions": 1,
            "accepted_changes": [],
            "best": {"epoch": 1, "val_top1": 50.0, "val_top5": 50.0},
            "seconds": 1.0,
            "seconds_waiting_for_data": 0.0,
            "seconds_saving": 0.0,
            "weights_stay": False,
        }
        write_record(folder / "run.json", Trained, record | measured)
    return results


def write_project(folder: Path, preset: Preset) -> Path:
    """A folder with `preset` as config/small.yaml, the paper's tables and a run of each backbone."""
    (folder / "config").mkdir()
    (folder / "data").mkdir()
    (folder / "data" / "paper").symlink_to(REPOSITORY / "data" / "paper")
    (folder / "config" / "small.yaml").write_text(yaml.safe_dump(preset.values()))
    write_backbones(folder / "results" / "small")
    return folder


def start(project: Path, *arguments: str | Path) -> subprocess.Popen:
    """`paradise detection` with these arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", "paradise", "detection", *map(str, arguments)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """The exit code of a process, and what it said, when it ends."""
    output, _ = process.communicate(timeout=300)
    return process.returncode, output
