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
from paradise.study.records import one_line

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
            "system": _line(platform.platform()),
            "processor": _line(processor()),
            "cores": os.cpu_count() or 1,
            "threads": torch.get_num_threads(),
            "instructions": _line(torch.backends.cpu.get_cpu_capability()),
            "device": str(device),
            "gpu": _line(torch.cuda.get_device_name(device)) if device.type == "cuda" else None,
        },
    }


def commit() -> str | None:
    """The commit of the checkout that holds this package's files, "+changes" where files differ from it.

    Results are no such files: a study that is at work has changed some of them.

    Returns:
        None where git knows of none: in no checkout, in one of another project, which does not track this file, or in
        one that git does not trust since it is another user's.
    """
    environment = dict(os.environ)

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=environment)
        return done.stdout.strip()

    changed = "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results"
    try:
        # What a hook or a shell says of another repository, such as GIT_DIR, is not of this one.
        for name in git("rev-parse", "--local-env-vars").split():
            environment.pop(name, None)
        git("ls-files", "--error-unmatch", "--", Path(__file__).name)
        return git("rev-parse", "--verify", "HEAD^{commit}") + ("+changes" if git(*changed) else "")
    except (OSError, UnicodeDecodeError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _line(text: str) -> str:
    """As records have it: one line that can be printed, of 200 characters at most."""
    return " ".join(one_line(text).split())[:200].strip() or "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
