import hashlib

import pytest

from paradise.errors import UserError
from paradise.study.data.manifest import read_manifest, write_manifest
from paradise.study.hashes import sha256


def write(folder, splits):
    """A data set of these images, each with its path as content."""
    for path, _ in [image for images in splits.values() for image in images]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    write_manifest(
        folder, {name: [(*image, sha256(folder / image[0])) for image in images] for name, images in splits.items()}
    )


def test_what_is_written_is_read(tmp_path):
    write(tmp_path, {"train": [("train/0/a, b.png", 0), ("train/3/c.png", 3)], "val": [("val/1/d.png", 1)]})
    manifest = read_manifest(tmp_path)
    assert manifest.num_classes == 4
    assert manifest.train.files() == [str(tmp_path / "train/0/a, b.png"), str(tmp_path / "train/3/c.png")]
    assert manifest.val.labels == [1]
    assert manifest.val.hashes == [hashlib.sha256(b"val/1/d.png").hexdigest()]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data folder .*gone does not exist; run `paradise prepare`"):
        read_manifest(tmp_path / "gone")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"has no manifest\.csv; run `paradise prepare`"):
        read_manifest(tmp_path)


def test_an_empty_split_is_named(tmp_path):
    write(tmp_path, {"train": [("train/0/a.png", 0)], "val": []})
    with pytest.raises(UserError, match="no images for 'val'"):
        read_manifest(tmp_path)
