import csv
from pathlib import Path

import numpy as np
import pytest

from paradise.errors import UserError
from paradise.study.data.manifest import other_images, read_manifest
from paradise.study.data.pixels import restore_pixels, write_pixels
from paradise.study.data.sets.digits import read_digits
from paradise.study.hashes import sha256


def pixels(value: int) -> np.ndarray:
    return np.full((8, 8), value, np.uint8)


@pytest.fixture
def splits() -> dict:
    return {
        "train": [("0000", 1, pixels(0)), ("0001", 0, pixels(1)), ("0002", 1, pixels(2)), ("0003", 1, pixels(3))],
        "val": [("0000", 0, pixels(4)), ("0001", 1, pixels(5))],
    }


def test_images_stand_in_the_manifest_by_class_with_their_hashes(tmp_path, splits):
    write_pixels(tmp_path, splits)
    manifest = read_manifest(tmp_path)
    assert manifest.train.paths == [f"train/{name}.png" for name in ("0/0001", "1/0000", "1/0002", "1/0003")]
    assert manifest.train.labels == [0, 1, 1, 1]
    assert other_images(manifest) == []


def test_the_first_of_each_class_are_kept(tmp_path, splits):
    write_pixels(tmp_path, splits, per_class=2)
    assert read_manifest(tmp_path).train.paths == ["train/0/0001.png", "train/1/0000.png", "train/1/0002.png"]


def test_writing_again_gives_the_same_bytes_and_removes_what_was_there(tmp_path):
    write_pixels(tmp_path, read_digits())
    before = {path: sha256(path) for path in tmp_path.rglob("*") if path.is_file()}
    write_pixels(tmp_path, read_digits(), per_class=2)
    assert len(list(tmp_path.rglob("*.png"))) == 40
    write_pixels(tmp_path, read_digits())
    assert {path: sha256(path) for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_is_restored_is_what_was_written(tmp_path, splits):
    write_pixels(tmp_path, splits)
    paths = read_manifest(tmp_path).train.paths[1:3]
    for path in paths:
        (tmp_path / path).unlink()
    restore_pixels(tmp_path, paths, splits)
    assert all((tmp_path / path).exists() for path in paths)
    assert other_images(read_manifest(tmp_path)) == []


def test_files_of_others_are_not_deleted(tmp_path, splits):
    write_pixels(tmp_path, splits)
    photograph = tmp_path / "train" / "0" / "holiday.png"
    photograph.write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"holds other files, such as .*holiday\.png"):
        write_pixels(tmp_path, splits)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_manifest_is_plain_csv(digits: Path):
    with (digits / "manifest.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["split", "path", "label", "sha256"]
    assert len(lines) == 1 + 160
