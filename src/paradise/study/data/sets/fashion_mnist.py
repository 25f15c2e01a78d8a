"""Fashion-MNIST (Xiao et al., 2017): 60,000 training and 10,000 test images of clothing, 28×28 grey, 10 classes."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from paradise.errors import UserError
from paradise.study.data.dataset import Arrays

if TYPE_CHECKING:
    import numpy as np

    from paradise.study.data.pixels import Splits

# Where Debian's package `dataset-fashion-mnist` puts the files.
DEBIAN = "/usr/share/datasets/fashion-mnist"
FILES = {"train": "train", "val": "t10k"}


def read_fashion_mnist(source: str | None = None) -> Splits:
    """From the four files of the data set in `source`; `$FASHION_MNIST_DIR`, or Debian's folder, by default.

    Raises UserError where one of them is missing or damaged.
    """
    folder = Path(source or os.environ.get("FASHION_MNIST_DIR", DEBIAN))
    splits = {}
    for split, name in FILES.items():
        images = _read(folder / f"{name}-images-idx3-ubyte.gz", dimensions=3)
        labels = _read(folder / f"{name}-labels-idx1-ubyte.gz", dimensions=1)
        if len(images) != len(labels):
            raise UserError(f"{folder} has {len(images)} {split} images and {len(labels)} labels; fetch it again")
        splits[split] = [(f"{i:05d}", int(label), image) for i, (label, image) in enumerate(zip(labels, images))]
    return splits


def _read(path: Path, dimensions: int) -> np.ndarray:
    """An array in the IDX format: a magic number, each dimension's size, bytes."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing; install Debian's package dataset-fashion-mnist, or set FASHION_MNIST_DIR to the "
            "folder of the data set's four files"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); fetch it again") from None
    import numpy as np  # only now: the preset's check and the tables ask a data set for no more than its name

    header = 4 * (1 + dimensions)
    magic, *shape = np.frombuffer(content[:header].ljust(header, b"\0"), ">u4").tolist()
    if magic != 0x0800 + dimensions or math.prod(shape) != len(content) - header:
        raise UserError(f"{path} is no IDX file of {dimensions} dimensions, or is cut short; fetch it again")
    return np.frombuffer(content[header:], np.uint8).reshape(shape)


DATASET = Arrays("Fashion-MNIST, 28×28 pixels of clothing in 10 classes", read_fashion_mnist)
