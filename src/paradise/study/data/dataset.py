"""What a data set of `data/sets` is: where its images come from. No numpy or torch before they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paradise.errors import UserError

if TYPE_CHECKING:
    from paradise.study.data.pixels import Splits
    from paradise.study.preset import Data, EvaluationData


@dataclass(frozen=True)
class Arrays:
    """A data set that comes as arrays, which are written as PNG image folders.

    Attributes:
        title: What it is, as tables say it.
        read: Gives its images; its argument is the preset's `data.source`.
    """

    title: str
    read: Callable[[str | None], Splits]
    embedded = True

    def write(self, data: Data, threads: int) -> None:
        """Writes the images and their manifest into the preset's folder. Raises UserError where it cannot be had."""
        from paradise.study.data.pixels import write_pixels

        write_pixels(Path(data.folder), self._chosen(data), data.per_class)

    def restore(self, data: EvaluationData, missing: list[str]) -> None:
        """Writes the images `missing` of a manifest that came without them."""
        from paradise.study.data.pixels import restore_pixels

        restore_pixels(Path(data.folder), missing, self._chosen(data))

    def images(self, data: EvaluationData) -> Path:
        """The folder that the manifest's paths are relative to."""
        return Path(data.folder)

    def _chosen(self, data: EvaluationData) -> Splits:
        """Both splits; with `hold_out` the last training images in the validation images' place."""
        splits, held = self.read(data.source), data.hold_out
        if held is None:
            return splits
        if held >= len(splits["train"]):
            raise UserError(f"'data.hold_out': {held} of {len(splits['train'])} training images leave none to train on")
        return {"train": splits["train"][:-held], "val": splits["train"][-held:]}


@dataclass(frozen=True)
class Folders:
    """A data set of image files, read where they lie.

    Attributes:
        title: What it is, as tables say it.
        root: Gives the folder of the images; its argument is the preset's `data.source`.
        write_list: Checks every image below the root and writes their manifest.
    """

    title: str
    root: Callable[[str | None], Path]
    write_list: Callable[[Data, Path, int], None]
    embedded = False

    def write(self, data: Data, threads: int) -> None:
        """Checks every image and writes their manifest. Raises UserError where one is missing or cannot be used."""
        if data.hold_out is not None:
            raise UserError(f"'data.hold_out' is not for {data.dataset}: take it out of the preset")
        self.write_list(data, self.root(data.source), threads)

    def images(self, data: EvaluationData) -> Path:
        """The folder that the manifest's paths are relative to."""
        return self.root(data.source)
