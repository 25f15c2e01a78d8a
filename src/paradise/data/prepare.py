"""From a preset's `data` to the images that training and evaluation read."""

from pathlib import Path

import numpy as np
from PIL import Image

from paradise.causes import code, write_record
from paradise.data.digits import read_digits
from paradise.data.fashion_mnist import read_fashion_mnist
from paradise.data.imagenet import imagenet_root, write_imagenet
from paradise.data.manifest import Manifest, Split, other_images, read_manifest
from paradise.data.pixels import Splits, restore_pixels, write_pixels
from paradise.errors import UserError


def prepare(data: dict, threads: int = 1) -> dict[str, int]:
    """Writes the data set's manifest, and its images where they come as arrays, into the preset's folder.

    Returns the number of images in each split. Raises UserError where the data set is not there, or not whole.
    """
    folder, per_class = Path(data["folder"]), data.get("per_class")
    if data["dataset"] == "imagenet":
        write_imagenet(folder, imagenet_root(data.get("source")), data.get("expect"), per_class, threads)
    else:
        write_pixels(folder, _read(data), per_class)
    manifest = read_manifest(folder)
    counts = {"train": len(manifest.train), "val": len(manifest.val)}
    made_from = {key: data.get(key) for key in ("dataset", "per_class", "hold_out")} | {"code": code("prepare")}
    write_record(folder / "prepared.json", made_from | counts)
    return counts


def prepared(data: dict) -> Manifest:
    """What was prepared, with every image in its place: a manifest that was fetched may come without them.

    Raises UserError where the folder was not prepared or holds an image that is not the manifest's.
    """
    folder = Path(data["folder"])
    if data["dataset"] == "imagenet":
        # To read a million images again would take minutes; a loader names the one that it cannot decode.
        return read_manifest(folder, imagenet_root(data.get("source")))
    manifest = read_manifest(folder)
    missing = [path for split in (manifest.train, manifest.val) for path in split.paths if not (folder / path).exists()]
    if missing:
        restore_pixels(folder, missing, _read(data))
    wrong = other_images(manifest)
    if wrong:
        raise UserError(f"{wrong[0]} is not the image that the manifest lists; run `paradise prepare` again")
    return manifest


def read_pixels(split: Split, data: dict) -> np.ndarray:
    """All images of `split` as uint8 [N, H, W, 1 or 3]. Raises UserError where they are not of one size."""
    images = [np.asarray(Image.open(path)) for path in split.files()]
    if len({image.shape for image in images}) > 1:
        raise UserError(f"the images in {split.folder} are not of one size: 'data.loader: memory' cannot hold them")
    return np.stack(images).reshape(len(images), *images[0].shape[:2], -1)


def _read(data: dict) -> Splits:
    splits = read_digits() if data["dataset"] == "digits" else read_fashion_mnist(data.get("source"))
    if held := data.get("hold_out"):
        if held >= len(splits["train"]):
            raise UserError(f"'data.hold_out': {held} of {len(splits['train'])} training images leave none to train on")
        return {"train": splits["train"][:-held], "val": splits["train"][-held:]}
    return splits
