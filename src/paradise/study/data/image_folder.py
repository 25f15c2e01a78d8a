"""Images in folders as ImageNet (ILSVRC2012) has them, where they lie: listed and checked, never copied.

`train` has a folder for each class. So may `val`; or it is flat, as it was published, and the development kit beside it
(`*devkit*/data`, with `ILSVRC2012_validation_ground_truth.txt` and `meta.mat`) says which image is of which class.
Classes are numbered in the order of their folders' names, as everyone does.
"""

import csv
import os
import re
from collections import Counter
from pathlib import Path

from scipy.io import loadmat

from paradise.errors import UserError
from paradise.study.data.images import check_all
from paradise.study.data.manifest import write_manifest
from paradise.study.files import write_text
from paradise.study.terminal.progress import reporting

TRUTH = "ILSVRC2012_validation_ground_truth.txt"
FLAT = re.compile(r"ILSVRC2012_val_([0-9]{8})\.JPEG")
Listed = dict[str, list[tuple[str, int]]]  # for each split the path, relative to the root, and the label of every image


def write_image_folder(
    folder: Path, root: Path, expect: dict[str, int] | None, per_class: int | None, threads: int
) -> None:
    """Checks every image of `root` by decoding it and writes their manifest into `folder`.

    `expect`: the numbers of `classes`, `train` and `val` images that must be there. What was checked stands in
    `folder/checked.csv`, so that a call that was ended goes on, and a later one reads only what changed. Raises
    UserError, naming them, for classes or images that are missing, of a wrong number or not to be read.
    """
    listed = list_images(root)
    if expect:
        _check_numbers(root, listed, expect)
    if per_class:
        listed = {split: _first_of_each(images, per_class) for split, images in listed.items()}
    (folder / "manifest.csv").unlink(missing_ok=True)
    hashes = _checked(folder, root, [path for images in listed.values() for path, _ in images], threads)
    write_manifest(
        folder, {split: [(path, label, hashes[path]) for path, label in images] for split, images in listed.items()}
    )


def list_images(root: Path) -> Listed:
    """Raises UserError where a class is empty, missing in one split, or not to be told."""
    classes = _folders(root / "train")
    if not classes:
        raise UserError(f"{root}/train has no class folders")
    if _folders(root / "val"):
        if other := sorted(set(classes) ^ set(_folders(root / "val"))):
            has, lacks = ("train", "val") if other[0] in classes else ("val", "train")
            raise UserError(f"{root}: class {other[0]} is in {has} and not in {lacks} ({len(other)} such classes)")
        val = _by_class(root, "val", classes)
    else:
        val = _flat(root, classes)
    return {"train": _by_class(root, "train", classes), "val": val}


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))


def _by_class(root: Path, split: str, classes: list[str]) -> list[tuple[str, int]]:
    images = []
    for label, name in enumerate(classes):
        files = _files(root / split / name)
        if not files:
            raise UserError(f"the class folder {root / split / name} is empty")
        images += [(f"{split}/{name}/{file}", label) for file in files]
    return images


def _flat(root: Path, classes: list[str]) -> list[tuple[str, int]]:
    kits = sorted(root.glob(f"*devkit*/data/{TRUTH}"))
    if not kits:
        raise UserError(
            f"{root}/val has no class folders, and there is no development kit beside it ({root}/*devkit*/data/{TRUTH})"
        )
    truth = kits[0].read_text().split()
    wnids = _wnids(kits[0].with_name("meta.mat"))
    images = []
    for file in _files(root / "val"):
        match = FLAT.fullmatch(file)
        if not match or not 1 <= int(match[1]) <= len(truth):
            raise UserError(f"{root}/val/{file} is none of the {len(truth)} validation images that {kits[0]} knows")
        wnid = wnids.get(truth[int(match[1]) - 1])
        if wnid not in classes:
            raise UserError(f"{root}/val/{file} is of class {wnid}, which {root}/train lacks")
        images.append((f"val/{file}", classes.index(wnid)))
    return images


def _wnids(path: Path) -> dict[str, str]:
    """The WordNet ID, which names a class's folder, of each of the development kit's class numbers."""
    if not path.exists():
        raise UserError(f"{path} is missing: it says which class each number in {TRUTH} is")
    try:
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        return {str(number): str(wnid) for number, wnid in zip(synsets["ILSVRC2012_ID"], synsets["WNID"])}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is damaged ({error}); fetch the development kit again") from None


def _check_numbers(root: Path, listed: Listed, expect: dict[str, int]) -> None:
    classes = len({label for _, label in listed["train"]})
    if classes != expect["classes"]:
        raise UserError(f"{root}/train has {classes} class folders, not the {expect['classes']} of 'data.expect'")
    for split, images in listed.items():
        if len(images) != expect[split]:
            raise UserError(f"{root}/{split} has {len(images)} images, not the {expect[split]} of 'data.expect'")


def _first_of_each(images: list[tuple[str, int]], per_class: int) -> list[tuple[str, int]]:
    kept, counts = [], Counter[int]()
    for path, label in images:
        counts[label] += 1
        if counts[label] <= per_class:
            kept.append((path, label))
    return kept


def _checked(folder: Path, root: Path, paths: list[str], threads: int) -> dict[str, str]:
    """The SHA-256 of every image, all found to be readable."""
    journal = folder / "checked.csv"
    known = _read_journal(journal)
    stamps = {path: _stamp(root / path) for path in paths}
    hashes = {path: known[path][1] for path in paths if path in known and known[path][0] == stamps[path]}
    left = [path for path in paths if path not in hashes]
    faults = []
    folder.mkdir(parents=True, exist_ok=True)
    with journal.open("a", newline="") as file, reporting(f"{root}: checking", len(paths), len(hashes)) as report:
        writer = csv.writer(file, lineterminator="\n")
        for path, (name, digest, fault) in zip(left, check_all([str(root / path) for path in left], threads)):
            if fault:
                faults.append(f"{name} {fault}")
                report.say(faults[-1])
            else:
                hashes[path] = digest
                writer.writerow([path, stamps[path], digest])
            report.step()
    unreadable = folder / "unreadable.txt"
    unreadable.unlink(missing_ok=True)
    if faults:
        write_text(unreadable, "\n".join(faults) + "\n")
        raise UserError(f"{faults[0]}; {len(faults)} of {len(paths)} images are so, all named in {unreadable}")
    return hashes


def _stamp(path: Path) -> str:
    """What changes when the file does."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def _read_journal(path: Path) -> dict[str, tuple[str, str]]:
    """Of each image checked before, its stamp and SHA-256; a line that a killed call left half is no line."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {line[0]: (line[1], line[2]) for line in csv.reader(file) if len(line) == 3 and len(line[2]) == 64}
