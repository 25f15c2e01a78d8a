"""The embedded data set: scikit-learn's 1,797 handwritten digits (UCI, 8×8, 16 grey levels) as PNG image folders."""

import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from paradise.causes import code, write_record
from paradise.data.manifest import write_manifest
from paradise.errors import UserError
from paradise.files import replacing

VALIDATION = 360
SPLIT_SEED = 0
OURS = re.compile(r"[0-9]/[0-9]{4}\.png")


def write_digits(folder: Path, per_class: int | None = None) -> dict[str, int]:
    """Writes `folder` (see `manifest.py`) and returns the number of images in each split.

    The split is the same on every machine: 1,437 training and 360 validation images, stratified. `per_class` keeps
    the first so many of each class in each split. What an earlier call wrote is replaced; raises UserError, and
    touches nothing, where the folder holds anything else.
    """
    for split in ("train", "val"):
        for path in (folder / split).rglob("*"):
            if path.is_file() and not OURS.fullmatch(path.relative_to(folder / split).as_posix()):
                raise UserError(f"{folder} holds other files, such as {path}; choose another folder for the digits")
    (folder / "manifest.csv").unlink(missing_ok=True)
    listed = {}
    for split, images in _splits(per_class).items():
        shutil.rmtree(folder / split, ignore_errors=True)
        for path, _, pixels in images:
            _save(pixels, folder / path)
        listed[split] = [(path, label) for path, label, _ in images]
    counts = {split: len(images) for split, images in listed.items()}
    made_from = {"dataset": "digits", "per_class": per_class, "code": code("prepare")}
    write_record(folder / "prepared.json", made_from | counts)
    write_manifest(folder, listed)
    return counts


def restore_digits(folder: Path, paths: list[str], per_class: int | None = None) -> None:
    """Writes the images `paths` of a folder that `write_digits` listed, whatever else is there."""
    for images in _splits(per_class).values():
        for path, _, pixels in images:
            if path in paths:
                _save(pixels, folder / path)


def _splits(per_class: int | None) -> dict[str, list[tuple[str, int, np.ndarray]]]:
    """For each split the path, label and pixels of every image."""
    images, labels = load_digits(return_X_y=True)
    splits = train_test_split(np.arange(len(labels)), test_size=VALIDATION, stratify=labels, random_state=SPLIT_SEED)
    return {
        split: [
            (f"{split}/{label}/{index:04d}.png", label, (images[index].reshape(8, 8) * (255 / 16)).round().astype("u1"))
            for label in range(10)
            for index in sorted(indices[labels[indices] == label])[:per_class]
        ]
        for split, indices in zip(("train", "val"), splits)
    }


def _save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Uncompressed, so that every build of zlib writes the same bytes, and the manifest is the same everywhere.
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="png", compress_level=0)
