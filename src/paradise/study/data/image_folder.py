"""Images in folders as ImageNet (ILSVRC2012) has them, where they lie: listed and checked, never copied.

`train` has a folder for each class. So may `val`; or it is flat, as it was published, and the development kit beside it
(`*devkit*/data`, with `ILSVRC2012_validation_ground_truth.txt` and `meta.mat`) says which image is of which class. Or
both are as Tiny ImageNet has them: `images` in each folder, and `val/val_annotations.txt`. Classes are numbered in the
order of their folders' names, as everyone does. Everything else in them is refused by name: nothing is left out.
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
ANNOTATIONS = "val_annotations.txt"
LITTER = ("Thumbs.db", "desktop.ini")  # what systems leave in folders, beside what begins with a dot
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
    if (root / "val" / ANNOTATIONS).exists() and _folders(root / "val") == ["images"]:
        val = _tiny(root, classes)
    elif _folders(root / "val"):
        if other := sorted(set(classes) ^ set(_folders(root / "val"))):
            has, lacks = ("train", "val") if other[0] in classes else ("val", "train")
            raise UserError(f"{root}: class {other[0]} is in {has} and not in {lacks} ({len(other)} such classes)")
        val = _by_class(root, "val", classes)
    else:
        val = _flat(root, classes)
    return {"train": _by_class(root, "train", classes), "val": val}


def _folders(folder: Path) -> list[str]:
    """The folders in `folder`, hidden ones too. Raises UserError where a name cannot be kept."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    _check_names(folder, names)
    return names


def _files(folder: Path) -> list[str]:
    """The files in `folder`. Raises UserError where there is anything else, or a file that no image set has."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    _check_names(folder, [entry.name for entry in entries])
    others = {
        "is a folder: images lie in their class's folder, or in `images` there": [e for e in entries if e.is_dir()],
        "is a link to nothing": [entry for entry in entries if entry.is_symlink() and not os.path.exists(entry.path)],
        "is no image": [entry for entry in entries if entry.name.startswith(".") or entry.name in LITTER],
    }
    for what, found in others.items():
        if found:
            raise UserError(f"{found[0].path} {what}; move it away ({len(found)} such in {folder})")
    return [entry.name for entry in entries]


def _check_names(folder: Path, names: list[str]) -> None:
    """Raises UserError for a name that no manifest, log or other system could keep."""
    for name in names:
        if not name.isprintable():  # a newline, or bytes that are not UTF-8, of which Python makes lone surrogates
            shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise UserError(f"{folder} has a file of the name {shown!r}, which is no printable UTF-8; rename it")
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise UserError(f"{folder} has '{other}' and '{name}', which differ by case alone; rename one of them")


def _by_class(root: Path, split: str, classes: list[str]) -> list[tuple[str, int]]:
    if beside := [entry.name for entry in os.scandir(root / split) if not entry.is_dir()]:
        raise UserError(
            f"{root / split}/{min(beside)} lies beside the class folders; move it away ({len(beside)} such)"
        )
    images = []
    for label, name in enumerate(classes):
        place = f"{split}/{name}"
        if sorted(entry.name for entry in os.scandir(root / place)) in (["images"], ["images", f"{name}_boxes.txt"]):
            place += "/images"  # as Tiny ImageNet has it
        files = _files(root / place)
        if not files:
            raise UserError(f"the class folder {root / place} is empty")
        images += [(f"{place}/{file}", label) for file in files]
    return images


def _tiny(root: Path, classes: list[str]) -> list[tuple[str, int]]:
    """The images of Tiny ImageNet's `val`, whose annotations have a line of name, class and box for each."""
    path = root / "val" / ANNOTATIONS
    try:
        named = dict(line.split("\t")[:2] for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); fetch it again") from None
    files = _files(root / "val" / "images")
    if odd := sorted(set(files) ^ set(named)):
        what = "is not in" if odd[0] in files else "is missing, and in"
        raise UserError(f"{root}/val/images/{odd[0]} {what} {path} ({len(odd)} such)")
    if odd := sorted(file for file in files if named[file] not in classes):
        raise UserError(f"{root}/val/images/{odd[0]} is of class {named[odd[0]]}, which {root}/train lacks")
    return [(f"val/images/{file}", classes.index(named[file])) for file in files]


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
