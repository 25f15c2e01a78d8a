import json

import numpy as np
import pytest
from PIL import Image

from paradise.errors import UserError
from paradise.study.detection.compose import INK, SIDE, compose, drawn_digits, scaled, write_digits
from paradise.study.hashes import sha256


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return folder, write_digits(folder, {"train": 24, "val": 16})


def annotations(folder, split: str) -> dict:
    return json.loads((folder / "annotations" / f"instances_{split}.json").read_text())


def test_every_size_is_there_and_every_number_is_counted(written):
    folder, counted = written
    for split, images in (("train", 24), ("val", 16)):
        content = annotations(folder, split)
        areas = [annotation["area"] for annotation in content["annotations"]]
        assert len(content["images"]) == len(list((folder / split).glob("*.png"))) == counted[split]["images"] == images
        sizes = (
            sum(area < 32**2 for area in areas),
            sum(32**2 <= area < 96**2 for area in areas),
            sum(area >= 96**2 for area in areas),
        )
        assert min(sizes) > 0
        assert sizes == tuple(counted[split][size] for size in ("small", "medium", "large"))


def test_annotations_are_cocos(written):
    from pycocotools.coco import COCO

    folder, _ = written
    truth = COCO(folder / "annotations" / "instances_val.json")
    assert [category["name"] for category in truth.loadCats(truth.getCatIds())] == ["0", "1"]
    for annotation in truth.loadAnns(truth.getAnnIds()):
        left, top, width, height = annotation["bbox"]
        assert min(left, top) >= 0 and max(left + width, top + height) <= SIDE
        assert annotation["area"] == width * height


def test_a_box_is_that_of_the_ink():
    """By an independent way: what differs from the ground that was there before the digit."""
    digits = drawn_digits()["val"]
    for index in range(20):
        ink = scaled(digits[index][2], 60)
        rows, columns = np.nonzero(ink >= INK)
        assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == (0, 0, *ink.shape)
        assert abs(ink.shape[0] - 60) <= 10


def test_digits_are_apart_and_bright_on_black():
    digits = drawn_digits()["val"]
    for index in range(20):
        pixels, objects = compose(digits, np.random.default_rng([1, index]))
        taken = np.zeros_like(pixels, dtype=int)
        for _, (left, top, width, height) in objects:
            taken[top : top + height, left : left + width] += 1
            assert pixels[top : top + height, left : left + width].max() > 170
        assert taken.max() <= 1
        assert pixels[taken == 0].max() == 0


def test_the_same_images_whatever_their_number(written, tmp_path):
    folder, _ = written
    write_digits(tmp_path, {"train": 30, "val": 16})
    for path in sorted((folder / "train").iterdir()):
        assert path.read_bytes() == (tmp_path / "train" / path.name).read_bytes()
    write_digits(tmp_path, {"train": 24, "val": 16})
    assert len(list((tmp_path / "train").iterdir())) == 24
    assert annotations(tmp_path, "train") == annotations(folder, "train")


def test_no_digit_is_in_both_splits():
    digits = drawn_digits()
    names = {split: {name for name, _, _ in images} for split, images in digits.items()}
    assert not names["train"] & names["val"]
    assert {label for images in digits.values() for _, label, _ in images} == {0, 1}


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "train").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "train" / "holiday.png")
    with pytest.raises(UserError, match=r"^.* holds other files, such as .*holiday\.png; choose another folder"):
        write_digits(tmp_path, {"train": 5, "val": 5})
    assert [path.name for path in tmp_path.rglob("*.png")] == ["holiday.png"]


@pytest.mark.parametrize("name", ["train/00003.png", "train/1.png", "val/90000.png", "annotations/instances_val.json"])
def test_files_of_others_with_names_like_ours_are_left_alone(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(UserError, match=rf"{name}.*; choose another "):
        write_digits(tmp_path, {"train": 24, "val": 16})
    assert [(file.name, file.read_text()) for file in tmp_path.rglob("*") if file.is_file()] == [(path.name, "mine")]


def test_a_folder_that_cannot_be_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^.*/file/train/00000\.png cannot be written: Not a directory$"):
        write_digits(tmp_path / "file", {"train": 24, "val": 16})


def test_what_was_written_is_replaced(tmp_path):
    """Fewer images, after a call that was ended and with an image that was changed."""
    write_digits(tmp_path, {"train": 26, "val": 16})
    (tmp_path / "annotations" / "instances_train.json").unlink()
    (tmp_path / "val" / "00003.png").write_text("changed")
    write_digits(tmp_path, {"train": 24, "val": 16})
    assert len(list((tmp_path / "train").glob("*.png"))) == 24
    Image.open(tmp_path / "val" / "00003.png").load()


@pytest.mark.slow
def test_the_published_images_are_made_to_the_bit(tmp_path):
    """By the hashes in the published records, which name every image's."""
    write_digits(tmp_path, {"train": 400, "val": 100})
    assert {path.stem: sha256(path) for path in (tmp_path / "annotations").iterdir()} == {
        "instances_train": "da1db7f3b34520ce48c7b711e18e29605a8efcee4f74d882537e53155b72c1d3",
        "instances_val": "15944ef244160a3e492d832b09b79e9b288c6386e2c0f54882f0368caa26ae44",
    }


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"^1 images of train are too few for digits of every size; compose more$"):
        write_digits(tmp_path, {"train": 1, "val": 5})
    assert not (tmp_path / "annotations").exists()
