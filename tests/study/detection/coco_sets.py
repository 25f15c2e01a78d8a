"""COCO sets for tests: small ones, with a red square ("cat") and a blue one ("dog") in each image."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from paradise.study.preset import DetectionData

COLOURS = {"cat": (220, 30, 30), "dog": (30, 30, 220)}
SIDE = 96
Edit = Callable[[dict[str, Any], str], None]


def content(split: str, images: int = 3) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The annotations of a split, as they should be, and the images, uint8 [SIDE, SIDE, 3]."""
    random = np.random.default_rng(split == "val")
    coco: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"{n:04}.png", "width": SIDE, "height": SIDE} for n in range(images)],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    drawn = []
    for image in range(images):
        pixels = random.integers(90, 160, (SIDE, SIDE, 3)).astype(np.uint8)
        for label, name in enumerate(COLOURS):
            side = int(random.integers(16, 40))
            left, top = 4 + 48 * label, int(random.integers(0, SIDE - side))
            pixels[top : top + side, left : left + side] = COLOURS[name]
            coco["annotations"].append(
                {"id": len(coco["annotations"]) + 1, "image_id": image, "category_id": label + 1}
                | {"bbox": [left, top, side, side], "area": side * side, "iscrowd": 0, "segmentation": []}
            )
        drawn.append(pixels)
    return coco, drawn


def source_file(root: Path, split: str) -> Path:
    """The annotations of a split, where a labelling tool wrote them."""
    return root / "annotations" / f"instances_{split}2017.json"


def write_set(root: Path, edit: Edit | None = None) -> DetectionData:
    """Writes the set into `root`, its annotations changed in place by `edit`, and gives a preset's section for it."""
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        coco, images = content(split)
        (root / f"{split}2017").mkdir()
        for image, pixels in zip(coco["images"], images, strict=True):
            Image.fromarray(pixels).save(root / f"{split}2017" / image["file_name"])
        if edit:
            edit(coco, split)
        source_file(root, split).write_text(json.dumps(coco))
    return section_of(root)


def section_of(root: Path) -> DetectionData:
    """A preset's section for the set in `root`."""
    return DetectionData(dataset="coco", folder=str(root / "data"), source=str(root))
