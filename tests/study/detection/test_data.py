"""The detection data, prepared and used: COCO's folder, in small, by real files of its layout; and composed images."""

import json
from pathlib import Path

import pytest
from PIL import Image

from paradise.errors import UserError
from paradise.study.detection import data
from paradise.study.detection.data import categories, prepare, prepared
from paradise.study.hashes import sha256
from paradise.study.preset import DetectionData
from paradise.study.records import PreparedDetection, read_record
from paradise.study.registry import DETECTION_SETS


@pytest.fixture
def coco(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "coco"
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (64, 48)).save(root / split / f"{number:012d}.jpg")
        content = {
            "images": [{"id": n, "file_name": f"{n:012d}.jpg", "width": 64, "height": 48} for n in range(3)],
            "annotations": [{"id": 1, "image_id": 2, "category_id": 7, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0}],
            "categories": [{"id": 7, "name": "train"}, {"id": 2, "name": "bicycle"}],
        }
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    monkeypatch.setenv("COCO_DIR", str(root))
    return root


def section(tmp_path: Path, **more: str) -> DetectionData:
    return DetectionData(dataset="coco", folder=str(tmp_path / "data"), **more)


def digits(tmp_path: Path, train: int = 10) -> DetectionData:
    return DetectionData.model_validate(
        {"dataset": "digits", "folder": str(tmp_path), "images": {"train": train, "val": 10}}
    )


def test_coco_where_it_lies(coco, tmp_path):
    counted = prepare(section(tmp_path), "small")
    assert counted == {split: {"images": 3, "objects": 1} for split in ("train", "val")}
    assert prepared(section(tmp_path)) == {
        f"annotations of {split}": sha256(tmp_path / "data" / "annotations" / f"instances_{split}.json")
        for split in ("train", "val")
    }
    assert list(categories(section(tmp_path)).items()) == [("bicycle", 1), ("train", 2)]


def test_a_preset_can_say_where_coco_is(coco, tmp_path, monkeypatch):
    monkeypatch.setenv("COCO_DIR", "/nowhere")
    source = section(tmp_path, source=str(coco))
    prepare(source, "small")
    assert prepared(source).keys() == {"annotations of train", "annotations of val"}
    assert DETECTION_SETS.get("coco").images(source, "val") == coco / "val2017"


def test_paths_are_told_though_nobody_said_where_coco_is(tmp_path, monkeypatch):
    """What a study's results are of can be asked where its images are not."""
    monkeypatch.delenv("COCO_DIR", raising=False)
    files = DETECTION_SETS.get("coco").annotation_files(section(tmp_path))
    assert not any(path.exists() for path in files.values()) and len(files) == 2


def test_the_record_says_what_was_prepared(tmp_path):
    counted = prepare(digits(tmp_path), "small")
    record = read_record(tmp_path / "detection.json", PreparedDetection)
    assert record is not None
    assert (record.step, record.preset, record.of, record.inputs) == ("prepare_detection", "small", {}, {})
    assert record.settings == {"detection": {"dataset": "digits", "images": {"train": 10, "val": 10}}}
    assert record.outputs == {
        f"annotations of {split}": sha256(tmp_path / "annotations" / f"instances_{split}.json")
        for split in ("train", "val")
    }
    assert record.splits == counted and counted["train"]["images"] == 10
    assert {"paradise.study.detection.compose", "paradise.study.detection.sets.digits"} <= record.code.keys()
    assert "paradise.study.detection.sets.coco" not in record.code


def test_composed_images_are_counted_in_the_preset():
    missing = DetectionData(dataset="digits", folder="data")
    with pytest.raises(UserError, match=r"^the key 'detection\.images' is missing$"):
        DETECTION_SETS.get("digits").check(missing)
    DETECTION_SETS.get("digits").check(digits(Path("data")))
    DETECTION_SETS.get("coco").check(section(Path()))


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


def edited(root, monkeypatch):
    path = root.parent / "data" / "annotations" / "instances_val.json"
    change(path, lambda content: content["annotations"][0].update(category_id=1))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_root, r"where is COCO\? Set COCO_DIR, or 'detection\.source' in the preset, to its folder"),
        (wrong_root, r"/nowhere is no folder; COCO_DIR, or 'detection\.source', names the folder of COCO"),
        (no_images, r".*val2017 is no folder; COCO_DIR, or 'detection\.source', must have the images there"),
        (
            an_image_less,
            r".*train2017\.json: images\[1\] \(id 1\): 'file_name' '000000000001\.jpg' is missing "
            r"\(1 of 3 images cannot be used; they lie in .*train2017\)",
        ),
        (no_annotations, r".*instances_val2017\.json is missing; is this the folder of COCO\?"),
        (no_json, r".*instances_val2017\.json is no annotation file of COCO's format \(.*\)"),
        (
            a_stray_annotation,
            r".*val2017\.json: annotations\[0\] \(id 1\): 'image_id' is 9, of no image that is listed",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(coco, tmp_path, monkeypatch, spoil, said):
    spoil(coco, monkeypatch)
    with pytest.raises(UserError, match=f"^{said}$"):
        prepare(section(tmp_path), "small")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_root, r"where is COCO\? Set COCO_DIR, or 'detection\.source' in the preset, to its folder"),
        (wrong_root, r"/nowhere is no folder; COCO_DIR, or 'detection\.source', names the folder of COCO"),
        (an_image_less, r".*'000000000001\.jpg' is missing \(1 of 3 images cannot be used; they lie in .*train2017\)"),
        (edited, r".*instances_val\.json is not what was prepared; run `paradise detection prepare` again"),
    ],
)
def test_what_was_prepared_and_is_no_longer_there_is_said(coco, tmp_path, monkeypatch, spoil, said):
    prepare(section(tmp_path), "small")
    spoil(coco, monkeypatch)
    with pytest.raises(UserError, match=f"^{said}$"):
        prepared(section(tmp_path))


def test_data_that_were_not_prepared_are_refused(coco, tmp_path):
    path = tmp_path / "data" / "detection.json"
    with pytest.raises(UserError) as raised:
        prepared(section(tmp_path))
    assert str(raised.value) == (f"no detection data at {path}; run `paradise detection prepare` with this preset")
    prepare(section(tmp_path), "small")
    change(path, lambda record: record["splits"]["val"].update(images=4))
    with pytest.raises(UserError) as raised:
        prepared(section(tmp_path))
    assert str(raised.value) == f"{path} is damaged (edited by hand); run `paradise detection prepare` again"


def test_data_that_were_prepared_with_other_settings_are_refused(tmp_path):
    prepare(digits(tmp_path), "small")
    with pytest.raises(UserError) as raised:
        prepared(digits(tmp_path, train=11))
    assert str(raised.value) == (
        f"{tmp_path} was prepared with other settings; run `paradise detection prepare` with this preset"
    )


def test_what_was_prepared_is_used_whatever_becomes_of_its_source(coco, tmp_path):
    """The annotations that are trained on are those that were checked."""
    prepare(section(tmp_path), "small")
    for split in ("train", "val"):
        (coco / "annotations" / f"instances_{split}2017.json").write_text("{")
    assert len(prepared(section(tmp_path))) == 2


@pytest.mark.parametrize("read_again", [data.READ_AGAIN, 0])
def test_other_images_with_the_same_names_are_refused(coco, tmp_path, monkeypatch, read_again):
    """Those of another source, to which nobody prepared the folder; of very many a sample is looked at."""
    monkeypatch.setattr(data, "READ_AGAIN", read_again)
    prepare(section(tmp_path), "small")
    for image in coco.glob("*2017/*.jpg"):
        Image.new("RGB", (64, 48), "red").save(image)
    with pytest.raises(
        UserError, match=r"^.*train2017/0+\.jpg is not what was prepared; run `paradise detection prepare`"
    ):
        prepared(section(tmp_path))


def test_a_composed_image_that_was_changed_is_refused(tmp_path):
    prepare(digits(tmp_path), "small")
    image = tmp_path / "val" / "00003.png"
    image.write_bytes((tmp_path / "val" / "00004.png").read_bytes())
    with pytest.raises(UserError) as raised:
        prepared(digits(tmp_path))
    assert str(raised.value) == f"{image} is not what was prepared; run `paradise detection prepare` again"


def test_a_composed_image_that_is_missing_comes_back(tmp_path):
    prepare(digits(tmp_path), "small")
    before = (tmp_path / "val" / "00003.png").read_bytes()
    (tmp_path / "val" / "00003.png").unlink()
    prepared(digits(tmp_path))
    assert (tmp_path / "val" / "00003.png").read_bytes() == before


def test_composed_images_come_back_after_a_fetch(tmp_path):
    """What is fetched is the record alone."""
    prepare(digits(tmp_path), "small")
    for path in tmp_path.glob(".*"):
        path.unlink()  # what says whose folder it is does not travel either
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for path in before:
        if path.name != "detection.json":
            path.unlink()
    prepared(digits(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
