"""From a preset's `data` to the images that training and evaluation read."""

from pathlib import Path

import numpy as np

from paradise.errors import UserError
from paradise.study.data.folder import data_folder
from paradise.study.data.images import decode
from paradise.study.data.manifest import Manifest, Split, other_images, read_manifest
from paradise.study.preset import Data, EvaluationData
from paradise.study.provenance import begin_record
from paradise.study.records import Damaged, Prepared, read_record, write_record
from paradise.study.registry import DATASETS

RECORD = "prepared.json"


def prepare(data: Data, preset: str, threads: int = 1) -> dict[str, int]:
    """Writes the data set's manifest, and its images where they come as arrays, into the preset's folder.

    Args:
        data: Which images, and where to.
        preset: The preset's name.
        threads: Processes that check image files.

    Returns:
        The number of images in each split.

    Raises:
        UserError: The data set is not there, or not whole; or the folder is somebody else's, or another study's.
    """
    folder = Path(data.folder)
    entries = ["paradise.study.data.prepare", DATASETS.module(data.dataset)]
    record = begin_record("prepare", preset, {}, {"data": data.prepared()}, {}, entries)
    with data_folder(data).claimed():
        DATASETS.get(data.dataset).write(data, threads)
        manifest = read_manifest(folder)
        counts = {"train": len(manifest.train), "val": len(manifest.val)}
        outputs = {"outputs": {"manifest.csv": manifest.sha256}, "classes": manifest.num_classes}
        write_record(folder / RECORD, Prepared, record | outputs | counts)
    return counts


def prepared(data: EvaluationData) -> Manifest:
    """What was prepared, with every image in its place: a manifest that was fetched may come without them.

    Args:
        data: Which images, and where they are.

    Returns:
        The list of the images.

    Raises:
        UserError: The folder was not prepared, or with other settings, or holds an image that is not the manifest's.
    """
    folder, dataset = Path(data.folder), DATASETS.get(data.dataset)
    manifest = read_manifest(folder, dataset.images(data))
    _check_record(folder, data, manifest.sha256)
    if not dataset.embedded:
        # To read a million images again would take minutes; a loader names the one that it cannot decode.
        return manifest
    missing = [path for split in (manifest.train, manifest.val) for path in split.paths if not (folder / path).exists()]
    if missing:
        dataset.restore(data, missing)
    wrong = other_images(manifest)
    if wrong:
        raise UserError(f"{wrong[0]} is not the image that the manifest lists; run `paradise prepare` again")
    return manifest


def read_pixels(split: Split) -> np.ndarray:
    """All images of `split`, uint8 [N, S, S, 1 or 3]: grey ones have one channel.

    Raises:
        UserError: They are not square and of one size, or one cannot be read.
    """
    images = list(map(_read_pixels, split.files()))
    sizes = {image.shape[:2] for image in images}
    if len(sizes) > 1 or len({*next(iter(sizes))}) > 1:
        raise UserError(
            f"the images in {split.folder} are not square and of one size, so 'data.loader: memory' cannot hold them; "
            "take 'dali'"
        )
    pixels = np.stack(images)
    return pixels[..., :1] if (pixels[..., :1] == pixels).all() else pixels


def _read_pixels(path: str) -> np.ndarray:
    try:
        return decode(Path(path).read_bytes())
    except Exception as error:  # whatever Pillow's decoders raise
        raise UserError(f"the image {path} cannot be read ({error}); run `paradise prepare` again") from None


def _check_record(folder: Path, data: EvaluationData, manifest: str) -> None:
    """Raises UserError where the folder was prepared with other settings, or its manifest changed since."""
    todo = "run `paradise prepare` with this preset"
    try:
        record = read_record(folder / RECORD, Prepared)
    except Damaged as damaged:
        raise UserError(f"{damaged}; {todo}") from None
    if record is None:
        raise UserError(f"{folder}/{RECORD} is missing; {todo}")
    # What was to be found was found then; no record of a run names it.
    then, now = ({**settings, "expect": None} for settings in (record.settings["data"], data.prepared()))
    if then != now:
        raise UserError(f"{folder} was prepared with other settings; {todo}")
    if record.outputs.get("manifest.csv") != manifest:
        raise UserError(f"{folder}/manifest.csv changed since it was made; {todo}")
