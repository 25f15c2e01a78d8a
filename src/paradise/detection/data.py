"""The detection sets, in COCO's format: the embedded one, and COCO itself where it lies."""

import json
import os
from pathlib import Path

from paradise.causes import code, write_record
from paradise.detection.digits import write_digits
from paradise.errors import UserError
from paradise.files import sha256

YEAR = {"train": "train2017", "val": "val2017"}


def prepare(detection: dict) -> dict[str, dict]:
    """Makes the embedded set, or checks COCO, of a preset's `detection`, and records it in its folder.

    Returns for each split the number of images and more. Raises UserError where the data set is not there or not whole.
    """
    folder = Path(detection["folder"])
    if detection["dataset"] == "digits":
        counted = write_digits(folder, detection["images"])
    else:
        counted = {split: check_coco(detection, split) for split in YEAR}
    files = {split: sha256(annotation_file(detection, split)) for split in YEAR}
    record = {"dataset": detection["dataset"], "images": detection.get("images"), "code": code("prepare_detection")}
    write_record(folder / "detection.json", record | {"splits": counted, "annotations": files})
    return counted


def prepared(detection: dict) -> dict[str, str]:
    """The SHA-256 of each split's annotations. Raises UserError where they are not those that were prepared."""
    record = Path(detection["folder"], "detection.json")
    try:
        recorded = json.loads(record.read_text())["annotations"]
    except FileNotFoundError:
        raise UserError(f"no detection data at {record}; run `paradise detection prepare` with this preset") from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{record} is damaged ({error!r}); run `paradise detection prepare` again") from None
    for split, expected in recorded.items():
        path = annotation_file(detection, split)
        if not path.exists():
            if detection["dataset"] == "digits":
                write_digits(Path(detection["folder"]), detection["images"])
            else:
                raise UserError(f"{path} is missing; COCO_DIR names the folder of COCO")
        if sha256(path) != expected:
            raise UserError(f"{path} is not what was prepared; run `paradise detection prepare` again")
    return recorded


def annotation_file(detection: dict, split: str) -> Path:
    name = split if detection["dataset"] == "digits" else YEAR[split]
    return _root(detection) / "annotations" / f"instances_{name}.json"


def image_root(detection: dict, split: str) -> Path:
    return _root(detection) / (split if detection["dataset"] == "digits" else YEAR[split])


def categories(detection: dict) -> dict[str, int]:
    """Their names and numbers in the annotations, in the order in which the classes are numbered."""
    listed = read_annotations(annotation_file(detection, "val"))["categories"]
    return {category["name"]: category["id"] for category in sorted(listed, key=lambda category: category["id"])}


def read_annotations(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
        content["images"], content["annotations"], content["categories"]
    except FileNotFoundError:
        raise UserError(f"{path} is missing; is this the folder of COCO?") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no annotation file of COCO's format ({error!r})") from None
    return content


def check_coco(detection: dict, split: str) -> dict[str, int]:
    """The numbers of images and objects. Raises UserError where an image that is annotated is missing."""
    annotations, images = annotation_file(detection, split), image_root(detection, split)
    content = read_annotations(annotations)
    if not images.is_dir():
        raise UserError(f"{images} is no folder; COCO_DIR, or 'detection.source', must have the images of {split}")
    there = {entry.name for entry in os.scandir(images)}
    missing = [image["file_name"] for image in content["images"] if image["file_name"] not in there]
    if missing:
        raise UserError(f"{images} lacks {missing[0]} and {len(missing) - 1} more images that {annotations} lists")
    known = {image["id"] for image in content["images"]}
    stray = [annotation["id"] for annotation in content["annotations"] if annotation["image_id"] not in known]
    if stray:
        raise UserError(
            f"{annotations}: annotation {stray[0]} and {len(stray) - 1} more are of images it does not list"
        )
    return {"images": len(known), "objects": len(content["annotations"])}


def _root(detection: dict) -> Path:
    if detection["dataset"] == "digits":
        return Path(detection["folder"])
    source = detection.get("source") or os.environ.get("COCO_DIR")
    if not source:
        raise UserError("where is COCO? Set COCO_DIR, or 'detection.source' in the preset, to its folder")
    if not Path(source).is_dir():
        raise UserError(f"{source} is no folder; COCO_DIR, or 'detection.source', names the folder of COCO")
    return Path(source)
