"""ImageNet (ILSVRC2012), or other images in folders like its, where it lies: `data.source`, or $IMAGENET_DIR."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from paradise.errors import UserError
from paradise.study.data.dataset import Folders

if TYPE_CHECKING:
    from paradise.study.preset import Data


def imagenet_root(source: str | None) -> Path:
    """The folder of the images: `source`, a preset's, or `$IMAGENET_DIR`. Raises UserError where there is none."""
    source = source or os.environ.get("IMAGENET_DIR")
    if not source:
        raise UserError("where is ImageNet? Set IMAGENET_DIR, or 'data.source' in the preset, to its folder")
    root = Path(source)
    for folder in (root, root / "train", root / "val"):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; IMAGENET_DIR, or 'data.source', must have `train` and `val`")
    return root


def write_list(data: Data, root: Path, threads: int) -> None:
    """See `image_folder.write_image_folder`."""
    from paradise.study.data.image_folder import write_image_folder

    expect = data.expect.values() if data.expect else None
    write_image_folder(Path(data.folder), root, expect, data.per_class, threads)


DATASET = Folders("a part of ImageNet, or other images in folders like its", imagenet_root, write_list)
