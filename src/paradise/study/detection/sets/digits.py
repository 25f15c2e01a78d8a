"""The embedded detection set: scikit-learn's real digits, in many sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from paradise.errors import UserError
from paradise.study.detection.sets import Counts, DetectionSet

if TYPE_CHECKING:
    from paradise.study.preset import DetectionData


def check(section: DetectionData) -> None:
    """See `DetectionSet`."""
    if section.images is None:
        raise UserError("the key 'detection.images' is missing")


def annotation_file(section: DetectionData, split: str) -> Path:
    """See `DetectionSet`."""
    return Path(section.folder, "annotations", f"instances_{split}.json")


def image_folder(section: DetectionData, split: str) -> Path:
    """See `DetectionSet`."""
    return Path(section.folder, split)


def prepare(section: DetectionData) -> Counts:
    """See `DetectionSet`."""
    from paradise.study.detection.compose import write_digits  # only now: it loads numpy and scikit-learn

    assert section.images is not None, "a preset is checked where it is read"
    return write_digits(Path(section.folder), section.images.values())


DATASET = DetectionSet(
    title="images composed of scikit-learn's handwritten zeros and ones",
    embedded=True,
    check=check,
    annotations=annotation_file,
    images=image_folder,
    prepare=prepare,
)
