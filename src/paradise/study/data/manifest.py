"""A data set is a folder with a `manifest.csv` of every image: split, path (`<split>/<class>/<image>`), label, SHA-256.

The images are there too, or where the data set lies. The manifest is written last: where it is, all images were there.
`prepared.json` says what it was made from.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from paradise.errors import UserError
from paradise.study.files import write_csv
from paradise.study.hashes import sha256


@dataclass(frozen=True)
class Split:
    folder: Path
    paths: list[str]  # relative to folder
    labels: list[int]
    hashes: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def files(self) -> list[str]:
        return [str(self.folder / path) for path in self.paths]


@dataclass(frozen=True)
class Manifest:
    sha256: str
    num_classes: int
    train: Split
    val: Split


def write_manifest(folder: Path, splits: dict[str, list[tuple[str, int, str]]]) -> None:
    """`splits`: for "train" and "val", the (path relative to the images' folder, label, SHA-256) of every image."""
    lines = ((split, *image) for split, images in splits.items() for image in images)
    write_csv(folder / "manifest.csv", ["split", "path", "label", "sha256"], lines)


def read_manifest(folder: Path, images: Path | None = None) -> Manifest:
    """The manifest in `folder`, of images there or in the folder `images`.

    Raises UserError where it is missing, was not prepared, or has an empty split.
    """
    path = Path(folder) / "manifest.csv"
    if not path.is_file():
        what = "has no manifest.csv" if Path(folder).is_dir() else "does not exist"
        raise UserError(f"data folder {folder} {what}; run `paradise prepare` with this preset")
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    splits = {}
    for name in ("train", "val"):
        listed = [line for line in lines if line["split"] == name]
        if not listed:
            raise UserError(f"{path} lists no images for '{name}'; delete it and run `paradise prepare` again")
        paths, labels, hashes = ([line[key] for line in listed] for key in ("path", "label", "sha256"))
        splits[name] = Split(Path(images or folder), paths, list(map(int, labels)), hashes)
    num_classes = max(int(line["label"]) for line in lines) + 1
    return Manifest(sha256(path), num_classes, **splits)


def other_images(manifest: Manifest) -> list[str]:
    """Paths of the images that are here and are not those that the manifest lists."""
    return [
        path
        for split in (manifest.train, manifest.val)
        for path, listed in zip(split.files(), split.hashes)
        if Path(path).exists() and sha256(Path(path)) != listed
    ]
