"""The embedded detection set: scikit-learn's real digits, in many sizes, annotated as COCO is.

Zeros and ones on black, as the backbones know them, because a minute or two must teach a detector.

Every image has a generator of its own, seeded by its split and number, so that it is the same however many there are.
Digits of the classification's training split are in training images alone.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from paradise.errors import UserError
from paradise.files import replacing
from paradise.study.data.pixels import encode
from paradise.study.data.sets.digits import read_digits
from paradise.study.detection.annotations import read_json, refuse_others
from paradise.study.detection.sets import Counts
from paradise.study.files import write_json
from paradise.study.terminal.progress import Reporter, reporting

SIDE = 144  # pixels of an image
LABELS = (0, 1)  # of the digits that are drawn
# Heights, in pixels, of small, medium and large digits, and how often they are drawn. By COCO's areas, of 32² and 96².
HEIGHTS = ((28, 38), (44, 64), (128, 140))
SHARES = (0.55, 0.4, 0.05)
PER_IMAGE = (4, 8)
INK = 64  # of 255: what is fainter belongs to no box
# Areas of boxes, in square pixels, as COCO parts them.
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, SIDE**2)}
NAME = re.compile(r"[0-9]{5,}\.png")
CATEGORIES = [{"id": label + 1, "name": str(label)} for label in LABELS]

Box = tuple[int, int, int, int]  # left, top, width and height, in pixels
Digit = tuple[str, int, np.ndarray]  # its name, its label and its pixels [H, W], uint8


def write_digits(folder: Path, images: dict[str, int]) -> Counts:
    """Writes composed images of each split into `folder`, with `annotations/instances_<split>.json`.

    Args:
        folder: What an earlier call wrote there is replaced.
        images: How many of each split.

    Returns:
        For each split the numbers of images and of small, medium and large digits.

    Raises:
        UserError: There are other files, of which none is touched; or so few images have no digits of some size.
    """
    digits, counted = drawn_digits(), {}
    for number, split in enumerate(images):
        _refuse_others(folder, split, digits[split], number)
    with reporting(f"{folder}: composing", sum(images.values())) as report:
        for number, (split, count) in enumerate(images.items()):
            content = _write_images(folder / split, digits[split], number, count, report)
            areas = [annotation["area"] for annotation in content["annotations"]]
            sizes = {size: sum(low <= area < high for area in areas) for size, (low, high) in SIZES.items()}
            if not all(sizes.values()):
                raise UserError(f"{count} images of {split} are too few for digits of every size; compose more")
            write_json(folder / "annotations" / f"instances_{split}.json", content)
            counted[split] = {"images": count} | sizes
    return counted


def drawn_digits() -> dict[str, list[Digit]]:
    """The digits that are drawn, by the split of their images."""
    return {split: [digit for digit in digits if digit[1] in LABELS] for split, digits in read_digits().items()}


def _refuse_others(folder: Path, split: str, digits: Sequence[Digit], number: int) -> None:
    """Raises UserError where files lie in a split's folder that no call of `write_digits` wrote.

    Its own are listed in the annotations; a call that was ended before it wrote these left what is composed again.
    """
    target = folder / "annotations" / f"instances_{split}.json"
    refuse_others(target)
    listed = {image["file_name"] for image in read_json(target)["images"]} if target.exists() else set()
    for path in sorted((folder / split).rglob("*")):
        name = path.relative_to(folder / split).as_posix()
        if name in listed or path.name.startswith(".") or not path.is_file():
            continue
        if not NAME.fullmatch(name) or path.read_bytes() != _compose_png(digits, number, int(path.stem))[0]:
            raise UserError(f"{folder} holds other files, such as {path}; choose another folder for the images")


def _write_images(
    folder: Path, digits: Sequence[Digit], number: int, count: int, report: Reporter
) -> dict[str, list[dict[str, Any]]]:
    """Writes `count` images of the split with this number, removes what is there of more, and gives the annotations."""
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        png, objects = _compose_png(digits, number, index)
        name = f"{index:05d}.png"
        with replacing(folder / name) as temporary:
            temporary.write_bytes(png)
        digest = hashlib.sha256(png).hexdigest()
        listed.append({"id": index, "file_name": name, "width": SIDE, "height": SIDE, "sha256": digest})
        for label, box in objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": label + 1,
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
        report.step()
    for path in folder.glob("*.png"):
        if int(path.stem) >= count:
            path.unlink()
    return {"images": listed, "annotations": annotations, "categories": CATEGORIES}


def _compose_png(digits: Sequence[Digit], number: int, index: int) -> tuple[bytes, list[tuple[int, Box]]]:
    """The file of one image of the split with this number, and its objects."""
    pixels, objects = compose(digits, np.random.default_rng([number, index]))
    return encode(pixels), objects


def compose(digits: Sequence[Digit], random: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, Box]]]:
    """One image [SIDE, SIDE], uint8, and its objects, none on another: the label and the box of each."""
    canvas = np.zeros((SIDE, SIDE))
    objects: list[tuple[int, Box]] = []
    sizes = random.choice(len(HEIGHTS), size=random.integers(*PER_IMAGE, endpoint=True), p=SHARES)
    for size in sorted(sizes, reverse=True):  # the large first, while there is room
        _, label, pixels = digits[int(random.integers(len(digits)))]
        ink = scaled(pixels, int(random.integers(*HEIGHTS[size], endpoint=True)))
        height, width = ink.shape
        for _ in range(20):
            left, top = int(random.integers(SIDE - width + 1)), int(random.integers(SIDE - height + 1))
            if all(_apart((left, top, width, height), box) for _, box in objects):
                break
        else:
            continue  # no room
        part = canvas[top : top + height, left : left + width]
        part += (random.uniform(190, 255) - part) * ink / 255
        objects.append((label, (left, top, width, height)))
    return canvas.round().astype(np.uint8), objects


def scaled(pixels: np.ndarray, height: int) -> np.ndarray:
    """The digit so large that its ink is about `height` pixels high, cut to the box of its ink."""
    rows = np.flatnonzero((pixels >= INK).any(1))
    side = round(height * len(pixels) / (rows[-1] - rows[0] + 1))
    large = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
    rows, columns = (np.flatnonzero((large >= INK).any(axis)) for axis in (1, 0))
    return large[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)


def _apart(a: Box, b: Box) -> bool:
    """Whether two boxes have nothing in common."""
    return a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
