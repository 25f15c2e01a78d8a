"""Annotation files in COCO's format: those of others, read into checked values, and the study's own, made of them.

The study's own has the categories in one order, every id counted from 1 and every key that mmdetection and pycocotools
read; so both see the same, whatever a labelling tool wrote. It has no outlines: boxes are all that Table 3 is of.
"""

import json
import math
import re
import reprlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, FailFast, PlainValidator, ValidationError

from paradise.errors import UserError
from paradise.study.detection.images import ImageFile, Unusable, check_image, find_image
from paradise.study.detection.sets import Counts
from paradise.study.files import write_text
from paradise.study.terminal.progress import reporting

MAX_BYTES = 4 << 30  # of an annotation file; COCO's largest has half a gigabyte
NARROW = 1  # pixel: mmdetection trains on no box that is narrower or lower, of which COCO has some
THINNEST = 1e-3  # pixels: below it a box may not even overlap with itself
OVER = 2  # pixels by which a box may leave its image: COCO's own are rounded

_SHORT = reprlib.Repr()
_SHORT.maxstring = 120


def shown(value: Any) -> str:
    """A value as a message has it: on one line, and short."""
    return _SHORT.repr(value)


def _id(value: Any) -> int | str:
    if isinstance(value, str) and re.fullmatch(r"-?[1-9][0-9]{0,17}|0", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise ValueError(f"is {shown(value)}, neither an integer nor a text")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"is {shown(value)}, no text")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise ValueError(f"is {shown(value)}, half a character")
    return value


def _is_number(value: Any) -> bool:
    # No float is as large as some integers of JSON are.
    return (isinstance(value, float) and math.isfinite(value)) or (type(value) is int and abs(value) < 1 << 53)


def _side(value: Any) -> int:
    if not _is_number(value) or value <= 0 or value != int(value):
        raise ValueError(f"is {shown(value)}, no number of pixels")
    return int(value)


def _box(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_is_number, value)):
        raise ValueError(f"is {shown(value)}, not four numbers")
    if value[2] < 0 or value[3] < 0:
        raise ValueError(f"is {shown(value)}: left, top, width and height, of which no size is below 0")
    return tuple(value)


def _area(value: Any) -> float:
    if not _is_number(value) or value < 0:
        raise ValueError(f"is {shown(value)}, no number of square pixels")
    area: float = value
    return area


def _flag(value: Any) -> bool:
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise ValueError(f"is {shown(value)}, neither 0 nor 1")
    return bool(value)


Id = Annotated[int | str, PlainValidator(_id)]
Text = Annotated[str, PlainValidator(_text)]
Side = Annotated[int, PlainValidator(_side)]


class Category(BaseModel):
    id: Id
    name: Text


class Image(BaseModel):
    id: Id
    file_name: Text
    width: Side | None = None
    height: Side | None = None


class Annotation(BaseModel):
    id: Any = None
    image_id: Id
    category_id: Id
    bbox: Annotated[tuple[float, ...], PlainValidator(_box)]
    area: Annotated[float, PlainValidator(_area)] | None = None
    iscrowd: Annotated[bool, PlainValidator(_flag)] | None = None
    ignore: Annotated[bool, PlainValidator(_flag)] | None = None

    @property
    def narrow(self) -> bool:
        return min(self.bbox[2:]) < NARROW


class Annotations(BaseModel):
    """What a file lists, every value of its type, every id known and each given once."""

    categories: Annotated[list[Category], FailFast()]
    images: Annotated[list[Image], FailFast()]
    annotations: Annotated[list[Annotation], FailFast()]


def write_annotations(sources: dict[str, tuple[Path, Path]], targets: dict[str, Path]) -> Counts:
    """Writes the annotations of a data set as the study has them: both splits, or none.

    Categories are numbered in the order of their ids in the training split; those of other splits are told by name.

    Args:
        sources: For each split a file of COCO's format and the folder of its images.
        targets: For each split the file to write.

    Returns:
        For each split the numbers of images and of objects, and how many of these are too narrow to be trained on.

    Raises:
        UserError: A file, an image or a value cannot be used, or the splits have not the same categories.
    """
    for target in targets.values():
        refuse_others(target)
    found = {split: read_annotations(path) for split, (path, _) in sources.items()}
    names = _names({sources[split][0]: listed.categories for split, listed in found.items()})
    contents, counted = {}, {}
    for split, (path, folder) in sources.items():
        files = _check_images(path, folder, found[split].images)
        contents[split] = _own(path, found[split], files, names, trained_on=split == "train")
        counted[split] = {"images": len(files), "objects": len(found[split].annotations)}
        narrow = sum(annotation.narrow for annotation in found[split].annotations)
        if narrow and split == "train":
            counted[split]["of them narrower than a pixel, and not trained on"] = narrow
    for split, target in targets.items():
        write_text(target, json.dumps(contents[split], allow_nan=False) + "\n")
    return counted


def refuse_others(target: Path) -> None:
    """Raises UserError where the annotation file to write is there and is none of the study's, which has hashes."""
    with suppress(UserError, TypeError, KeyError, AttributeError):
        if not target.exists() or ((images := read_json(target)["images"]) and all("sha256" in i for i in images)):
            return
    raise UserError(f"{target} is somebody else's; choose another 'detection.folder'")


def _names(listed: dict[Path, list[Category]]) -> list[str]:
    """The names of the categories in the order of the first file's ids. Raises UserError where files differ in them."""
    (first, categories), *others = listed.items()
    for path, other in others:
        here, there = {category.name for category in other}, {category.name for category in categories}
        if here != there:
            lacks = [
                f"{what} {shown(min(names))}"
                for what, names in (("lacks", there - here), ("has", here - there))
                if names
            ]
            raise UserError(
                f"{path}: 'categories' {' and '.join(lacks)}, unlike {first}; both must have the same names"
            )
    return [category.name for category in sorted(categories, key=lambda one: (isinstance(one.id, str), one.id))]


def _check_images(path: Path, folder: Path, images: list[Image]) -> list[ImageFile]:
    """What the images' files are. Raises UserError where some cannot be used: of the first it says why."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; it must have the images that {path} lists")
    faults: list[str] = []
    files: list[ImageFile] = []
    places: dict[Path, int] = {}
    with reporting(f"{folder}: checking", len(images)) as report:
        for number, image in enumerate(images):
            try:
                place = find_image(folder, image.file_name)
                if place in places:
                    raise Unusable(f"is the same file as images[{places[place]}]")
                places[place] = number
                files.append(check_image(place))
                for key in ("width", "height"):
                    said, is_ = getattr(image, key), getattr(files[-1], key)
                    if said not in (None, is_):
                        raise Unusable(f"has {files[-1].width} × {files[-1].height} pixels, and '{key}' is {said}")
            except Unusable as why:
                faults.append(f"{entry('images', number, image.id)}: 'file_name' {shown(image.file_name)} {why}")
            report.step()
    if faults:
        raise UserError(
            f"{path}: {faults[0]} ({len(faults)} of {len(images)} images cannot be used; they lie in {folder})"
        )
    return files


def _own(path: Path, found: Annotations, files: list[ImageFile], names: list[str], trained_on: bool) -> dict[str, Any]:
    """The content of the study's file. Raises UserError where a box cannot be kept, or there is none."""
    images = {image.id: number for number, image in enumerate(found.images, 1)}
    categories = {category.id: names.index(category.name) + 1 for category in found.categories}
    annotations: list[dict[str, Any]] = []
    for number, annotation in enumerate(found.annotations):
        image, box = images[annotation.image_id], annotation.bbox
        ignored = trained_on and annotation.narrow
        if why := None if ignored else _unkept(box, files[image - 1]):
            raise UserError(f"{path}: {entry('annotations', number, annotation.id)}: 'bbox' is {shown(list(box))}{why}")
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": categories[annotation.category_id],
                "bbox": list(box),
                "area": box[2] * box[3] if annotation.area is None else annotation.area,
                "iscrowd": int(annotation.iscrowd or 0),
            }
        )
    if all(annotation.iscrowd or (trained_on and annotation.narrow) for annotation in found.annotations):
        raise UserError(f"{path}: 'annotations' has no object that counts, of a pixel or more and no crowd")
    listed = [
        {"id": number, "file_name": PurePosixPath(image.file_name).as_posix()} | asdict(file)
        for number, (image, file) in enumerate(zip(found.images, files, strict=True), 1)
    ]
    numbered = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    return {"images": listed, "annotations": annotations, "categories": numbered}


def _unkept(box: tuple[float, ...], image: ImageFile) -> str | None:
    """Why a box could not be found again by the best of detectors, or not be trained on; None where it could."""
    left, top, width, height = box
    right, bottom = left + width, top + height
    if min(width, height) < THINNEST:
        return ", without any area; leave the annotation out"
    over = max(-left, -top, right - image.width, bottom - image.height)
    if over > OVER or min(right, bottom) <= 0 or left >= image.width or top >= image.height:
        return f", outside of an image of {image.width} × {image.height} pixels; cut it to what is seen"
    return None


def read_annotations(path: Path) -> Annotations:
    """What the file `path` of COCO's format lists. Ids of annotations are not read: nothing refers to them.

    Raises:
        UserError: It is no such file, or has a value that means nothing; the file, the entry and the key are named.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no annotation file of COCO's format: it holds no object, but {shown(content)}")
    try:
        found = Annotations.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_of(error, content)}") from None
    for what in ("categories", "images"):
        if not getattr(found, what):
            raise UserError(f"{path}: '{what}' is empty")
    categories = _each_once(path, "categories", "id", [category.id for category in found.categories])
    _each_once(path, "categories", "name", [category.name for category in found.categories])
    images = _each_once(path, "images", "id", [image.id for image in found.images])
    for number, annotation in enumerate(found.annotations):
        where = entry("annotations", number, annotation.id)
        if annotation.image_id not in images:
            raise UserError(f"{path}: {where}: 'image_id' is {shown(annotation.image_id)}, of no image that is listed")
        if annotation.category_id not in categories:
            raise UserError(
                f"{path}: {where}: 'category_id' is {shown(annotation.category_id)}, of no category that is listed"
            )
        if annotation.ignore:
            raise UserError(f"{path}: {where}: 'ignore' is 1, which pycocotools does not read; say 'iscrowd': 1")
        if annotation.area == 0 and min(annotation.bbox[2:]) > 0:
            raise UserError(
                f"{path}: {where}: 'area' is 0 and the box's is not; leave out an area that nobody measured"
            )
    return found


def read_json(path: Path) -> Any:
    """What the JSON file `path` holds. Raises UserError where it cannot be read, or says a thing twice."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has more than {MAX_BYTES >> 30} GB, which are not read; part the data set")
        # From bytes: then a byte order mark is understood, and the locale says nothing.
        return json.loads(path.read_bytes(), object_pairs_hook=_object)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is no annotation file of COCO's format ({why})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {shown(twice)} twice")
    found.pop("segmentation", None)  # most of the memory, and never read
    return found


def entry(what: str, number: int, identity: Any) -> str:
    """How messages call one of a list: by its place, and by its id where it has one."""
    return f"{what}[{number}]" + ("" if identity is None else f" (id {shown(identity)})")


def _first_of(error: ValidationError, content: dict[str, Any]) -> str:
    """What pydantic found first, in words: the entry, the key, and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    said = {"missing": "is missing", "list_type": "is no list", "model_type": "is no object"}
    why = said.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    what, *place = first["loc"]
    if not place:
        return f"'{what}' {why}"
    value = content[str(what)][int(place[0])]
    where = entry(str(what), int(place[0]), value.get("id") if isinstance(value, dict) else None)
    return f"{where}: '{place[1]}' {why}" if len(place) > 1 else f"{where} {why}"


def _each_once(path: Path, what: str, key: str, values: list[Any]) -> set[Any]:
    """The values. Raises UserError where two entries have the same."""
    seen: dict[Any, int] = {}
    for number, value in enumerate(values):
        if value in seen:
            raise UserError(f"{path}: {what}[{seen[value]}] and {what}[{number}] have the same '{key}' {shown(value)}")
        seen[value] = number
    return set(seen)
