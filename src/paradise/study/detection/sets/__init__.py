"""The detection data sets, in COCO's format: one module each, called as presets do, which exports its `DATASET`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paradise.study.preset import DetectionData

SPLITS = ("train", "val")
Counts = dict[str, dict[str, int]]  # of each split, by what is counted


@dataclass(frozen=True)
class DetectionSet:
    """Where the images and annotations of a data set are. Paths are told whether there is anything or not.

    Attributes:
        title: What it is, as tables say it.
        embedded: Whether it is made here, and is not the one that the paper's numbers are of.
        check: Raises UserError where a preset's section `detection` does not suit it.
        annotations: The annotation file of a split, "train" or "val".
        images: The folder that the annotations' file names of a split are relative to.
        prepare: Makes it, or checks that it is there and whole, and counts. Raises UserError where it is not.
    """

    title: str
    embedded: bool
    check: Callable[[DetectionData], None]
    annotations: Callable[[DetectionData, str], Path]
    images: Callable[[DetectionData, str], Path]
    prepare: Callable[[DetectionData], Counts]

    def annotation_files(self, section: DetectionData) -> dict[str, Path]:
        """The annotations of both splits, by what records call them."""
        return {f"annotations of {split}": self.annotations(section, split) for split in SPLITS}
