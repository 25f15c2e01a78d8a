"""What a record says of how it was made: settings, inputs, code, commit, versions, machine."""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from paradise.study.code import fingerprint
from paradise.study.hashes import sha256

PACKAGES = ("paradise-nn", "torch", "numpy", "nvidia-dali-cuda130", "snakemake", "onedl-mmdetection", "onedl-mmcv")


def begin_record(
    step: str,
    preset: str,
    of: Mapping[str, str],
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    entries: list[str],
    device: torch.device | None = None,
) -> dict[str, Any]:
    """What the record of a measurement says before the work: files may be edited while it lasts.

    Args:
        step: The step's name.
        preset: The preset's name.
        of: The wildcards of what is made.
        settings: What of the preset the numbers come from.
        inputs: The files that they come from, by the names that the record has for them.
        entries: The modules whose import closure decides them.
        device: What computes; the processor by default.

    Returns:
        The keys of `records.Measurement` but `outputs` and `seal`, as JSON values.
    """
    device = device or torch.device("cpu")
    versions = {name: found for name in PACKAGES if (found := _version(name)) is not None}
    return {
        "step": step,
        "preset": preset,
        "of": dict(of),
        "settings": dict(settings),
        "inputs": {name: sha256(path) for name, path in inputs.items()},
        "code": fingerprint(*entries),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {"python": platform.python_version()} | versions,
        "machine": {
            "system": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "device": str(device),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        },
    }


def commit() -> str | None:
    """The commit of this package's checkout, "+changes" where files differ from it; None outside a checkout.

    Results are no such files: a study that is at work has changed some of them.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    changed = "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results"
    try:
        return git("rev-parse", "HEAD") + ("+changes" if git(*changed) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
