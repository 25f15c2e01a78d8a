"""What was run, where, with what: the part that every record of a measurement has."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from paradise.causes import code

PACKAGES = ("paradise", "torch", "numpy", "nvidia-dali-cuda130", "snakemake", "onedl-mmdetection", "onedl-mmcv")


def provenance(step: str, device: torch.device) -> dict:
    """Time, code of `step` (a key of `causes.CODE`), versions and machine of this process, as JSON values."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "code": code(step),
        "versions": {"python": platform.python_version()} | {name: version_of(name) for name in PACKAGES},
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
        command = ["git", "-C", Path(__file__).parent, *arguments]
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


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
