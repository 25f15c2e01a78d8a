"""COCO's folder, in small: real files of its layout."""

import json

import pytest
from PIL import Image

from paradise.detection.data import categories, prepare, prepared
from paradise.errors import UserError


@pytest.fixture
def coco(tmp_path, monkeypatch):
    root = tmp_path / "coco"
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20, 10)).save(root / split / f"{number:012d}.jpg")
        content = {
            "images": [{"id": n, "file_name": f"{n:012d}.jpg", "width": 20, "height": 10} for n in range(3)],
            "annotations": [{"id": 1, "image_id": 2, "category_id": 7, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0}],
            "categories": [{"id": 7, "name": "train"}, {"id": 2, "name": "bicycle"}],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    monkeypatch.setenv("COCO_DIR", str(root))
    return root


def settings(tmp_path) -> dict:
    return {"dataset": "coco", "folder": str(tmp_path / "data")}


def test_coco_where_it_lies(coco, tmp_path):
    counted = prepare(settings(tmp_path))
    assert counted == {split: {"images": 3, "objects": 1} for split in ("train", "val")}
    assert prepared(settings(tmp_path)).keys() == {"train", "val"}
    assert list(categories(settings(tmp_path)).items()) == [("bicycle", 2), ("train", 7)]


def change(path, edit) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def without_root(root, monkeypatch):
    monkeypatch.delenv("COCO_DIR")


def wrong_root(root, monkeypatch):
    monkeypatch.setenv("COCO_DIR", "/nowhere")


def no_images(root, monkeypatch):
    (root / "val2017").rename(root / "val")


def an_image_less(root, monkeypatch):
    (root / "train2017" / "000000000001.jpg").unlink()


def no_annotations(root, monkeypatch):
    (root / "annotations" / "instances_val2017.json").unlink()


def no_json(root, monkeypatch):
    (root / "annotations" / "instances_val2017.json").write_text("{")


def a_stray_annotation(root, monkeypatch):
    path = root / "annotations" / "instances_val2017.json"
    change(path, lambda content: content["annotations"][0].update(image_id=9))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_root, r"where is COCO\? Set COCO_DIR, or 'detection\.source' in the preset, to its folder"),
        (wrong_root, r"/nowhere is no folder; COCO_DIR, or 'detection\.source', names the folder of COCO"),
        (no_images, r".*val2017 is no folder; COCO_DIR, or 'detection\.source', must have the images of val"),
        (an_image_less, r".*train2017 lacks 000000000001\.jpg and 0 more images that .*train2017\.json lists"),
        (no_annotations, r".*instances_val2017\.json is missing; is this the folder of COCO\?"),
        (no_json, r".*instances_val2017\.json is no annotation file of COCO's format \(.*\)"),
        (a_stray_annotation, r".*val2017\.json: annotation 1 and 0 more are of images it does not list"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(coco, tmp_path, monkeypatch, spoil, said):
    spoil(coco, monkeypatch)
    with pytest.raises(UserError, match=f"^{said}$"):
        prepare(settings(tmp_path))
    assert not (tmp_path / "data").exists()


def test_other_annotations_than_those_prepared_are_refused(coco, tmp_path):
    with pytest.raises(UserError, match=r"^no detection data at .*detection\.json; run `paradise detection prepare`"):
        prepared(settings(tmp_path))
    prepare(settings(tmp_path))
    change(coco / "annotations" / "instances_val2017.json", lambda content: content["annotations"].clear())
    with pytest.raises(UserError, match=r"^.*val2017\.json is not what was prepared; run `paradise detection prepare`"):
        prepared(settings(tmp_path))


def test_composed_images_come_back_after_a_fetch(tmp_path):
    """What is fetched is the record alone."""
    detection = {"dataset": "digits", "folder": str(tmp_path), "images": {"train": 10, "val": 10}}
    prepare(detection)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for path in before:
        if path.name != "detection.json":
            path.unlink()
    prepared(detection)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
