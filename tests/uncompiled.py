"""An mmcv that nobody compiled, for processes of their own."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from conftest import REPOSITORY


def copy_mmcv(folder: Path) -> Path:
    """Copies the installed mmcv into `folder`, without operators, as pip's build isolation leaves it."""
    shutil.copytree(
        Path(find_spec("mmcv").origin).parent,
        folder / "mmcv",
        ignore=shutil.ignore_patterns("_ext.*", "csrc", "__pycache__"),
    )
    return folder


def run_with(mmcv: Path, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Runs Python with the mmcv in the folder `mmcv`."""
    path = os.pathsep.join((str(mmcv), str(REPOSITORY / "src")))
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd or mmcv,
        env=os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )
