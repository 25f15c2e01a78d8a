"""Data sets that come as arrays: written as PNG image folders, so that everything else sees only image folders."""

import hashlib
import io
import re
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from paradise.errors import UserError
from paradise.files import replacing
from paradise.study.data.manifest import write_manifest

# For "train" and "val", each image's name, label and pixels [H, W].
Splits = dict[str, list[tuple[str, int, np.ndarray]]]
OURS = re.compile(r"[0-9]/[0-9]{4,5}\.png")


def write_pixels(folder: Path, splits: Splits, per_class: int | None = None) -> None:
    """Writes `folder` (see `manifest.py`), with the first `per_class` images of each class in each split, or all.

    What an earlier call wrote is replaced; raises UserError, and touches nothing, where the folder holds anything else.
    """
    for split in splits:
        for file in (folder / split, *(folder / split).rglob("*")):
            named = OURS.fullmatch(file.relative_to(folder / split).as_posix())
            # What is behind a link lies elsewhere, and is somebody else's.
            if file.is_symlink() or (file.exists() and not file.is_dir() and not named):
                raise UserError(f"{folder} holds other files, such as {file}; choose another folder for the images")
    (folder / "manifest.csv").unlink(missing_ok=True)
    listed: dict[str, list[tuple[str, int, str]]] = {}
    for split, images in _png(splits, per_class).items():
        shutil.rmtree(folder / split, ignore_errors=True)
        listed[split] = []
        for path, label, pixels in images:
            png = encode(pixels)
            _write(folder / path, png)
            listed[split].append((path, label, hashlib.sha256(png).hexdigest()))
    write_manifest(folder, listed)


def restore_pixels(folder: Path, paths: list[str], splits: Splits) -> None:
    """Writes the images `paths` of a folder that `write_pixels` listed, whatever else is there."""
    wanted = set(paths)
    for images in _png(splits, None).values():
        for path, _, pixels in images:
            if path in wanted:
                _write(folder / path, encode(pixels))


def _png(splits: Splits, per_class: int | None) -> Splits:
    """The images by class, with the path of each file as its name."""
    return {
        split: [
            (f"{split}/{label}/{name}.png", label, pixels)
            for label in sorted({label for _, label, _ in images})
            for name, _, pixels in islice((image for image in images if image[1] == label), per_class)
        ]
        for split, images in splits.items()
    }


def encode(pixels: np.ndarray) -> bytes:
    # Uncompressed, so that every build of zlib writes the same bytes, and the manifest is the same everywhere.
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", compress_level=0)
    return buffer.getvalue()


def _write(path: Path, png: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(png)
