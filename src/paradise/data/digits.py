"""The embedded data set: scikit-learn's 1,797 handwritten digits (UCI, 8×8, 16 grey levels) as PNG image folders."""

import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from paradise.data.manifest import write_manifest
from paradise.errors import UserError

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
    images, labels = load_digits(return_X_y=True)
    splits = train_test_split(np.arange(len(labels)), test_size=VALIDATION, stratify=labels, random_state=SPLIT_SEED)
    (folder / "manifest.csv").unlink(missing_ok=True)
    listed = {}
    for split, indices in zip(("train", "val"), splits):
        shutil.rmtree(folder / split, ignore_errors=True)
        listed[split] = []
        for label in range(10):
            (folder / split / str(label)).mkdir(parents=True)
            for index in sorted(indices[labels[indices] == label])[:per_class]:
                path = f"{split}/{label}/{index:04d}.png"
                pixels = (images[index].reshape(8, 8) * (255 / 16)).round().astype(np.uint8)
                Image.fromarray(pixels).save(folder / path)
                listed[split].append((path, label))
    write_manifest(folder, listed)
    return {split: len(images) for split, images in listed.items()}
