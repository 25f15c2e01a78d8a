"""COCO 2017 (Lin et al., 2014) where it lies: `detection.source`, or $COCO_DIR."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from paradise.errors import UserError
from paradise.study.detection.annotations import read_annotations
from paradise.study.detection.sets import SPLITS, Counts, DetectionSet

if TYPE_CHECKING:
    from paradise.study.preset import DetectionData


def check(section: DetectionData) -> None:
    """See `DetectionSet`."""


def annotation_file(section: DetectionData, split: str) -> Path:
    """See `DetectionSet`."""
    return _root(section) / "annotations" / f"instances_{split}2017.json"


def image_folder(section: DetectionData, split: str) -> Path:
    """See `DetectionSet`."""
    return _root(section) / f"{split}2017"


def prepare(section: DetectionData) -> Counts:
    """See `DetectionSet`."""
    if not (section.source or os.environ.get("COCO_DIR")):
        raise UserError("where is COCO? Set COCO_DIR, or 'detection.source' in the preset, to its folder")
    if not _root(section).is_dir():
        raise UserError(f"{_root(section)} is no folder; COCO_DIR, or 'detection.source', names the folder of COCO")
    return {split: _count(section, split) for split in SPLITS}


def _root(section: DetectionData) -> Path:
    # Without either, a folder that is not there: whoever looks into it learns that nothing is.
    return Path(section.source or os.environ.get("COCO_DIR") or "$COCO_DIR")


def _count(section: DetectionData, split: str) -> dict[str, int]:
    """The numbers of images and objects. Raises UserError where an image that is annotated is missing."""
    path, folder = annotation_file(section, split), image_folder(section, split)
    if not path.exists():
        raise UserError(f"{path} is missing; is this the folder of COCO?")
    content = read_annotations(path)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; COCO_DIR, or 'detection.source', must have the images of {split}")
    there = {entry.name for entry in os.scandir(folder)}
    missing = [image["file_name"] for image in content["images"] if image["file_name"] not in there]
    if missing:
        raise UserError(f"{folder} lacks {missing[0]} and {len(missing) - 1} more images that {path} lists")
    known = {image["id"] for image in content["images"]}
    stray = [annotation["id"] for annotation in content["annotations"] if annotation["image_id"] not in known]
    if stray:
        raise UserError(f"{path}: annotation {stray[0]} and {len(stray) - 1} more are of images it does not list")
    return {"images": len(known), "objects": len(content["annotations"])}


DATASET = DetectionSet(
    title="COCO val2017",
    embedded=False,
    check=check,
    annotations=annotation_file,
    images=image_folder,
    prepare=prepare,
)
