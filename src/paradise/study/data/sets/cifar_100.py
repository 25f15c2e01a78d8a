"""CIFAR-100 (Krizhevsky, 2009): 50,000 training and 10,000 test photographs, 32×32 colour pixels, 100 classes.

Taken from either of the published archives, binary or Python, packed or unpacked, or from folders of images. The images
are named by their pixels, so that a part of the data set has the same images whatever it was read from.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paradise.errors import UserError
from paradise.study.data.dataset import Arrays

if TYPE_CHECKING:
    import numpy as np

    from paradise.study.data.pixels import Splits

    Pixels = tuple[list[int], np.ndarray]  # labels, and [N, 32, 32, 3]

CLASSES, SIDE = 100, 32
OF_EACH_CLASS = {"train": 500, "val": 100}
# The files of the published archives, with the MD5s that are published for them.
MD5S = {
    "cifar-100-binary": {
        "train.bin": "6172c7755cfe09b2fe270c85cebc1b15",
        "test.bin": "4499cfba6c016c1be1438163640a0898",
    },
    "cifar-100-python": {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
}
FORMS = (
    "cifar-100-binary.tar.gz or cifar-100-python.tar.gz, a folder with one of them or with what was in it, or folders "
    "of images, train/<class> and test/<class>"
)
LARGEST = 200_000_000  # bytes of a file in an archive
# All that the Python archive's pickles consist of, as Python 2 and NumPy of any version name it.
GLOBALS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


def read_cifar_100(source: str | None = None) -> Splits:
    """The images of both splits, in an order that depends on their pixels alone.

    Args:
        source: The archive or the folder; `$CIFAR100_DIR` by default.

    Raises:
        UserError: It is not there, is damaged, or is another data set.
    """
    import numpy as np  # only now: the preset's check and the tables ask a data set for no more than its name

    source = source or os.environ.get("CIFAR100_DIR")
    if not source:
        raise UserError(f"where is CIFAR-100? Set CIFAR100_DIR, or 'data.source' in the preset, to {FORMS}")
    splits: Splits = {}
    for split, (labels, pixels) in _read(Path(source)).items():
        expected = OF_EACH_CLASS[split]
        wrong = [(label, count) for label in range(CLASSES) if (count := labels.count(label)) != expected]
        if wrong or len(labels) != CLASSES * expected:
            label, count = wrong[0] if wrong else (CLASSES, len(labels) - CLASSES * expected)
            raise UserError(f"{source} has {count} images of class {label} in '{split}', CIFAR-100 {expected}")
        images = [(hashlib.sha256(image.tobytes()).hexdigest(), label, image) for label, image in zip(labels, pixels)]
        images.sort(key=lambda image: image[:2])
        splits[split] = [(f"{i:05d}", label, np.ascontiguousarray(image)) for i, (_, label, image) in enumerate(images)]
    return splits


def _read(source: Path) -> dict[str, Pixels]:
    """Labels and pixels of both splits, as they come."""
    for folder in (source, *(source / name for name in MD5S)):
        for form, md5s in MD5S.items():
            if all((folder / name).is_file() for name in md5s):
                return _parsed(form, {name: (folder / name, (folder / name).read_bytes()) for name in md5s})
    archives = (
        [source] if source.is_file() else [path for form in MD5S if (path := source / f"{form}.tar.gz").is_file()]
    )
    if archives:
        return _parsed(*_unpacked(archives[0]))
    if (source / "train").is_dir() and (source / "test").is_dir():
        return {"train": _read_folders(source / "train"), "val": _read_folders(source / "test")}
    raise UserError(f"{source} is not CIFAR-100; CIFAR100_DIR, or 'data.source', must be {FORMS}")


def _unpacked(archive: Path) -> tuple[str, dict[str, tuple[Path, bytes]]]:
    """The form of an archive, and its files."""
    found: dict[str, dict[str, tuple[Path, bytes]]] = {form: {} for form in MD5S}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                form, _, name = member.name.removeprefix("./").partition("/")
                if name in MD5S.get(form, ()) and member.isreg() and member.size <= LARGEST:
                    file = tar.extractfile(member)
                    found[form][name] = (archive / member.name, file.read() if file else b"")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{archive} is no archive, or is damaged ({error}); fetch it again") from None
    for form, files in found.items():
        if files.keys() == MD5S[form].keys():
            return form, files
    raise UserError(
        f"{archive} is not CIFAR-100: it must hold {' or '.join(f'{form}/' for form in MD5S)}; fetch it again"
    )


def _parsed(form: str, files: dict[str, tuple[Path, bytes]]) -> dict[str, Pixels]:
    parse = _parse_binary if form == "cifar-100-binary" else _parse_python
    splits = {}
    for split, (name, md5) in zip(OF_EACH_CLASS, MD5S[form].items()):
        path, content = files[name]
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise UserError(f"{path} is not the published file: its MD5 is another than {md5}; fetch it again")
        splits[split] = parse(path, content)
    return splits


def _parse_binary(path: Path, content: bytes) -> Pixels:
    """For each image the coarse label, the fine one, and the planes of red, green and blue."""
    import numpy as np

    each = 2 + 3 * SIDE * SIDE
    if len(content) % each:
        raise UserError(f"{path} is cut short: {len(content)} bytes, not a multiple of {each}; fetch it again")
    lines = np.frombuffer(content, np.uint8).reshape(-1, each)
    return lines[:, 1].tolist(), lines[:, 2:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


def _parse_python(path: Path, content: bytes) -> Pixels:
    import numpy as np

    try:
        values: Any = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        labels = [int(label) for label in values[b"fine_labels"]]
        pixels = np.asarray(values[b"data"], np.uint8).reshape(len(labels), 3, SIDE, SIDE)
    except (pickle.UnpicklingError, EOFError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not as CIFAR-100's pickles are ({error}); fetch it again") from None
    return labels, pixels.transpose(0, 2, 3, 1)


class _Unpickler(pickle.Unpickler):
    """Knows what the published pickles consist of, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in GLOBALS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which could run anything")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_folders(folder: Path) -> Pixels:
    """Images in a folder for each class, the classes in the alphabet's order."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(classes) != CLASSES:
        raise UserError(f"{folder} has {len(classes)} class folders, CIFAR-100 {CLASSES}")
    labels, pixels = [], []
    for label, of_class in enumerate(classes):
        for path in sorted(of_class.iterdir()):
            try:
                with Image.open(path) as image:
                    if image.size != (SIDE, SIDE) or image.mode != "RGB":
                        raise UserError(f"{path} is {image.width}×{image.height} {image.mode}, not {SIDE}×{SIDE} RGB")
                    pixels.append(np.asarray(image))
            except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
                raise UserError(f"{path} is no image, or is damaged; take it away or fetch it again") from None
            labels.append(label)
    return labels, np.stack(pixels) if pixels else np.empty((0, SIDE, SIDE, 3), np.uint8)


DATASET = Arrays("CIFAR-100, 32×32 pixels of photographs in 100 classes", read_cifar_100)
