"""From a preset's `data` to the images that training and evaluation read."""

from pathlib import Path

from paradise.data.digits import restore_digits, write_digits
from paradise.data.manifest import Manifest, other_images, read_manifest
from paradise.errors import UserError


def prepare(data: dict) -> dict[str, int]:
    """Writes the data set into its folder, manifest and all; returns the number of images in each split."""
    return write_digits(Path(data["folder"]), data.get("per_class"))


def prepared(data: dict) -> Manifest:
    """What was prepared, with every image in its place: a manifest that was fetched may come without them.

    Raises UserError where the folder was not prepared or holds an image that is not the manifest's.
    """
    folder = Path(data["folder"])
    manifest = read_manifest(folder)
    missing = [path for split in (manifest.train, manifest.val) for path in split.paths if not (folder / path).exists()]
    if missing:
        restore_digits(folder, missing, data.get("per_class"))
    wrong = other_images(manifest)
    if wrong:
        raise UserError(f"{wrong[0]} is not the image that the manifest lists; run `paradise prepare` again")
    return manifest
