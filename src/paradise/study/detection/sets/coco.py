"""COCO 2017 (Lin et al., 2014), or other images in folders like its, where they lie: `detection.source`, or $COCO_DIR.

The images are read there; the annotations are written once more into the preset's folder, as `annotations.py` says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from paradise.errors import UserError
from paradise.study.detection.sets import SPLITS, Counts, DetectionSet

if TYPE_CHECKING:
    from paradise.study.preset import DetectionData


def check(section: DetectionData) -> None:
    """See `DetectionSet`."""


def annotation_file(section: DetectionData, split: str) -> Path:
    """See `DetectionSet`."""
    return Path(section.folder, "annotations", f"instances_{split}.json")


def image_folder(section: DetectionData, split: str) -> Path:
    """See `DetectionSet`."""
    return _root(section) / f"{split}2017"


def prepare(section: DetectionData) -> Counts:
    """See `DetectionSet`."""
    from paradise.study.detection.annotations import write_annotations  # only now: it loads Pillow and pydantic

    root = _root(section)
    if not (section.source or os.environ.get("COCO_DIR")):
        raise UserError("where is COCO? Set COCO_DIR, or 'detection.source' in the preset, to its folder")
    if not root.is_dir():
        raise UserError(f"{root} is no folder; COCO_DIR, or 'detection.source', names the folder of COCO")
    sources = {
        split: (root / "annotations" / f"instances_{split}2017.json", image_folder(section, split)) for split in SPLITS
    }
    for path, folder in sources.values():
        if not path.is_file():
            raise UserError(f"{path} is missing; is this the folder of COCO?")
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; COCO_DIR, or 'detection.source', must have the images there")
    return write_annotations(sources, {split: annotation_file(section, split) for split in SPLITS})


def _root(section: DetectionData) -> Path:
    # Without either, a folder that is not there: whoever looks into it learns that nothing is.
    return Path(section.source or os.environ.get("COCO_DIR") or "$COCO_DIR")


DATASET = DetectionSet(
    title="COCO val2017, or other images in folders like its",
    embedded=False,
    check=check,
    annotations=annotation_file,
    images=image_folder,
    prepare=prepare,
)
