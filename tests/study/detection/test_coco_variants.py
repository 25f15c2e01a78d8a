"""COCO files as labelling tools write them: the truth as predictions has AP 100, and a dog is a dog in training."""

import copy
import json
from pathlib import Path

import pytest
from coco_sets import write_set
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from paradise.errors import UserError
from paradise.study.detection import config
from paradise.study.detection.data import categories, prepare, prepared
from paradise.study.detection.evaluate import average_precisions
from paradise.study.preset import DetectionData, Preset
from paradise.study.registry import DETECTION_SETS
from paradise.study.rows import DetectorRow

pytestmark = pytest.mark.slow  # it loads mmdetection
LATENCY = {"image_size": 64, "rounds": 1, "threads": 1}
ROW = DetectorRow.parse("retinanet-resnet50")


def every(what, **values):
    """An edit that gives every entry these values; of a value that can be called, what it says of the old one."""

    def edit(coco, split):
        for one in coco[what]:
            one |= {key: value(one.get(key)) if callable(value) else value for key, value in values.items()}

    return edit


def without(what, *keys):
    def edit(coco, split):
        for one in coco[what]:
            for key in keys:
                del one[key]

    return edit


def renumbered(numbers, *splits):
    """An edit that gives the categories other ids, in the splits named, or both."""

    def edit(coco, split):
        if split in (splits or ("train", "val")):
            for one in coco["categories"]:
                one["id"] = numbers[one["name"]]
            for one in coco["annotations"]:
                one["category_id"] = numbers[("cat", "dog")[one["category_id"] - 1]]

    return edit


def reversed_(*splits):
    def edit(coco, split):
        if split in splits:
            coco["categories"].reverse()

    return edit


def then(*edits):
    def edit(coco, split):
        for one in edits:
            one(coco, split)

    return edit


def images_renumbered(number):
    return then(every("images", id=number), every("annotations", image_id=number))


def shuffled(coco, split):
    coco["annotations"].reverse()
    coco["images"].reverse()


def a_bare_image(coco, split):
    coco["annotations"] = [one for one in coco["annotations"] if one["image_id"] != 1]


def a_crowd(coco, split):
    coco["annotations"].append(coco["annotations"][0] | {"iscrowd": 1, "bbox": [0, 0, 96, 3], "area": 288})


def named(cat, dog):
    def edit(coco, split):
        coco["categories"][0]["name"], coco["categories"][1]["name"] = cat, dog

    return edit


def a_narrow_box(coco, split):
    if split == "train":
        coco["annotations"].append(coco["annotations"][0] | {"bbox": [3, 3, 4, 0], "area": 0})


VARIANTS = {
    "as it should be": lambda coco, split: None,
    "category 2 is listed first": reversed_("train", "val"),
    "category 2 is listed first in train": reversed_("train"),
    "category 2 is listed first in val": reversed_("val"),
    "other category ids in val": renumbered({"cat": 2, "dog": 1}, "val"),
    "category ids with gaps": renumbered({"cat": 90, "dog": 7}),
    "category ids from 0": renumbered({"cat": 0, "dog": 1}),
    "negative category ids": renumbered({"cat": -3, "dog": 0}),
    "category ids as strings": renumbered({"cat": "1", "dog": "2"}),
    "category ids as strings in val": renumbered({"cat": "7", "dog": "0"}, "val"),
    "category ids as words": renumbered({"cat": "b3f0", "dog": "a1"}),
    "category ids as floats": renumbered({"cat": 1.0, "dog": 2.0}),
    "annotation ids from 0": every("annotations", id=lambda old: old - 1),
    "annotation ids not unique": every("annotations", id=lambda old: 1 + old % 4),
    "annotation ids all the same": every("annotations", id=0),
    "annotation ids missing": without("annotations", "id"),
    "annotation ids as strings": every("annotations", id=str),
    "annotation ids as null": every("annotations", id=None),
    "image ids as strings": images_renumbered(str),
    "image ids as strings on one side": every("images", id=str),
    "image ids as words": images_renumbered(lambda old: f"image {old}"),
    "image ids as floats": images_renumbered(float),
    "large image ids": images_renumbered(lambda old: 10**15 + old),
    "no area": without("annotations", "area"),
    "area is null": every("annotations", area=None),
    "no iscrowd": without("annotations", "iscrowd"),
    "iscrowd as bool": every("annotations", iscrowd=False),
    "iscrowd is null": every("annotations", iscrowd=None),
    "no width, no height": without("images", "width", "height"),
    "sides are null": every("images", width=None, height=None),
    "sides as floats": every("images", width=float, height=float),
    "boxes as floats": every("annotations", bbox=lambda old: [side + 0.25 for side in old]),
    "no segmentation": without("annotations", "segmentation"),
    "segmentation as RLE": every("annotations", segmentation={"counts": "PPYo1", "size": [96, 96]}),
    "segmentation as empty polygons": every("annotations", segmentation=[[]]),
    "segmentation as polygons": every("annotations", segmentation=[[4.0, 4.0, 9.0, 4.0, 9.0, 9.0]]),
    "segmentation is null": every("annotations", segmentation=None),
    "ignore is 0": every("annotations", ignore=0),
    "other keys": every("annotations", attributes={"occluded": False}, score=float("nan")),
    "entries in another order": shuffled,
    "an image without annotations": a_bare_image,
    "a crowd": a_crowd,
    "a box without height, in train as COCO has them": a_narrow_box,
    "file_name with a dot": every("images", file_name=lambda old: f"./{old}"),
}
NAMES = {
    "names with signs": ("a | b", "two\nlines"),
    "names with quotes": ("it's", '"\\n" {x} ö €'),
    "names that differ in case": ("Cat", "cat"),
    "names as numbers": ("10", "9"),
}
VARIANTS |= {variant: named(*names) for variant, names in NAMES.items()}


def truth_as_predictions(path: Path) -> list[dict]:
    listed = json.loads(path.read_text())["annotations"]
    return [{key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0} for one in listed]


def seen_in_training(section: DetectionData) -> set[tuple[str, str]]:
    """The names by which mmdetection's training takes objects, and the colours that they have, in both splits."""
    detector, seen = config.detector_config(ROW, section, None), set()
    for loader in (detector.train_dataloader, detector.val_dataloader):
        loader.dataset.pipeline = [step for step in loader.dataset.pipeline if "Load" in step["type"]]
        loader.dataset.serialize_data = False  # which collects garbage for a second
        images = DATASETS.build(loader.dataset)
        for image in (images[index] for index in range(len(images))):
            for box, label in zip(image["gt_bboxes"].tensor.tolist(), image["gt_bboxes_labels"].tolist(), strict=True):
                left, top, right, bottom = map(int, box)
                blue, _, red = image["img"][(top + bottom) // 2, (left + right) // 2].tolist()
                seen.add((images.metainfo["classes"][label], "red" if red > 200 else "blue" if blue > 200 else ""))
    return seen


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """mmdetection's own configuration, which takes longer to read than all else here."""
    published = config.published_config(ROW, None)
    init_default_scope("mmdet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "published_config", lambda *of: copy.deepcopy(published))
        yield


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_that_is_accepted_is_right(tmp_path, variant):
    section = write_set(tmp_path / "set", VARIANTS[variant])
    prepare(section, "small")
    prepared(section)
    path = DETECTION_SETS.get("coco").annotations(section, "val")
    found = average_precisions(path, truth_as_predictions(path))
    assert all(value == pytest.approx(100) for value in found.values() if value is not None) and found["ap"] is not None
    cat, dog = NAMES.get(variant, ("cat", "dog"))
    assert sorted(categories(section)) == sorted((cat, dog)) and sorted(categories(section).values()) == [1, 2]
    assert {(name, colour) for name, colour in seen_in_training(section) if colour} == {(cat, "red"), (dog, "blue")}


def test_without_detections_a_size_without_objects_has_no_precision(tmp_path):
    section = write_set(tmp_path / "set")
    prepare(section, "small")
    found = average_precisions(DETECTION_SETS.get("coco").annotations(section, "val"), [])
    assert found == {"ap": 0, "ap50": 0, "ap75": 0, "ap_s": 0, "ap_m": 0, "ap_l": None}


@pytest.mark.parametrize("names", [*NAMES.values(), ("a\\b", "c{}"), ("{{ fileDirname }}", "dog")])
def test_a_written_configuration_has_the_names_or_is_refused(tmp_path, names, detectors):
    prepare(section := write_set(tmp_path / "set", named(*names)), "small")
    values = detectors.values() | {"detection": section.values() | {"rows": "all", "latency": LATENCY}}
    preset, output = Preset.of(values, Path("config/small.yaml")), tmp_path / "mine.py"
    if "{{" in names[0]:
        with pytest.raises(UserError, match=rf"^{output} cannot be written: mmengine takes what stands in '{{{{' for "):
            config.write_config(ROW, preset, output)
        assert not output.exists()
    else:
        config.write_config(ROW, preset, output)
        assert sorted(Config.fromfile(output).train_dataloader.dataset.metainfo.classes) == sorted(names)
