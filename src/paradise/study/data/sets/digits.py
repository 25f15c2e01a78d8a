"""The embedded data set: scikit-learn's 1,797 handwritten digits (UCI), 8×8 pixels of 16 grey levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paradise.study.data.dataset import Arrays

if TYPE_CHECKING:
    from paradise.study.data.pixels import Splits

VALIDATION = 360
SPLIT_SEED = 0


def read_digits(source: str | None = None) -> Splits:
    """The images, which come with scikit-learn.

    Args:
        source: Not asked for.

    Returns:
        1,437 training and 360 validation images, stratified; the split is the same on every machine.
    """
    # Loaded only now: the preset's check and the tables ask a data set for no more than its name.
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    parts = train_test_split(np.arange(len(labels)), test_size=VALIDATION, stratify=labels, random_state=SPLIT_SEED)
    return {
        split: [(f"{index:04d}", int(labels[index]), pixels[index]) for index in sorted(indices)]
        for split, indices in zip(("train", "val"), parts)
    }


DATASET = Arrays("scikit-learn's 1,797 handwritten digits in 10 classes", read_digits)
