"""A study's detection data: made or checked once and recorded, and compared with the record where they are used."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from paradise.errors import UserError
from paradise.study.data.folder import detection_folder
from paradise.study.detection.annotations import read_json
from paradise.study.detection.sets import SPLITS, Counts, DetectionSet
from paradise.study.hashes import sha256
from paradise.study.preset import DetectionData
from paradise.study.provenance import begin_record
from paradise.study.records import Damaged, PreparedDetection, read_record, write_record
from paradise.study.registry import DETECTION_SETS

RECORD = "detection.json"
READ_AGAIN = 2 << 30  # bytes of images that are all compared with what was prepared; of more, as COCO's are, a sample
SAMPLE = 500


def prepare(section: DetectionData, preset: str) -> Counts:
    """Makes the data set, or checks that it is there and whole, and records it in the preset's folder.

    Args:
        section: Which images, and where to.
        preset: The preset's name.

    Returns:
        For each split the number of images and more.

    Raises:
        UserError: The data set is not there or not whole.
    """
    dataset = DETECTION_SETS.get(section.dataset)
    entries = ["paradise.study.detection.data", DETECTION_SETS.module(section.dataset)]
    record = begin_record("prepare_detection", preset, {}, {"detection": section.prepared()}, {}, entries)
    with detection_folder(section).claimed():
        counts: Counts = dataset.prepare(section)
        outputs = {name: sha256(path) for name, path in dataset.annotation_files(section).items()}
        write_record(Path(section.folder, RECORD), PreparedDetection, record | {"outputs": outputs, "splits": counts})
    return counts


def prepared(section: DetectionData) -> dict[str, str]:
    """What was prepared, with every image in its place: a record that was fetched comes without those made here.

    Args:
        section: Which images, and where they are.

    Returns:
        The SHA-256 of each split's annotations, by what records call them.

    Raises:
        UserError: The data were not prepared, or with other settings, or changed since: annotations or images.
    """
    path, dataset = Path(section.folder, RECORD), DETECTION_SETS.get(section.dataset)
    try:
        record = read_record(path, PreparedDetection)
    except Damaged as damaged:
        raise UserError(f"{damaged}; run `paradise detection prepare` again") from None
    if record is None:
        raise UserError(f"no detection data at {path}; run `paradise detection prepare` with this preset")
    if record.settings != {"detection": section.prepared()}:
        raise UserError(
            f"{section.folder} was prepared with other settings; run `paradise detection prepare` with this preset"
        )
    files = dataset.annotation_files(section)
    listed = [(file, record.outputs.get(name)) for name, file in files.items()]
    if not all(file.exists() for file in files.values()):
        dataset.prepare(section)
    _compare(listed)
    if not all(image.exists() for image, _ in _images(dataset, section)):
        dataset.prepare(section)  # makes them, or says where they should be
        _compare(listed)
    images = list(_images(dataset, section))
    if sum(image.stat().st_size for image, _ in images) > READ_AGAIN:
        images = images[:: max(1, len(images) // SAMPLE)]
    _compare(images)
    return record.outputs


def categories(section: DetectionData) -> dict[str, int]:
    """The names and numbers of the categories, in the order in which the classes are numbered."""
    listed = read_json(DETECTION_SETS.get(section.dataset).annotations(section, "val"))["categories"]
    return {category["name"]: category["id"] for category in listed}


def _compare(found: Iterable[tuple[Path, str | None]]) -> None:
    """Raises UserError where a file has another hash than it had."""
    for path, digest in found:
        if sha256(path) != digest:
            raise UserError(f"{path} is not what was prepared; run `paradise detection prepare` again")


def _images(dataset: DetectionSet, section: DetectionData) -> Iterator[tuple[Path, str]]:
    """Every image's file, and the hash that the annotations, which are the study's own, give of it."""
    for split in SPLITS:
        folder = dataset.images(section, split)
        for image in read_json(dataset.annotations(section, split))["images"]:
            yield folder / image["file_name"], image["sha256"]
