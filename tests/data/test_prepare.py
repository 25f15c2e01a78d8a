import shutil

import pytest

from paradise.data.manifest import other_images, read_manifest
from paradise.data.prepare import prepare, prepared
from paradise.errors import UserError


@pytest.fixture
def data(tmp_path) -> dict:
    data = {"dataset": "digits", "folder": str(tmp_path / "digits"), "per_class": 2}
    assert prepare(data) == {"train": 20, "val": 20}
    return data


def test_images_that_are_not_here_are_written_again(data, tmp_path):
    manifest = read_manifest(tmp_path / "digits")
    before = (tmp_path / "digits" / "manifest.csv").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "digits" / "train")
    (tmp_path / "digits" / manifest.val.paths[3]).unlink()
    assert prepared(data) == manifest
    assert len(list((tmp_path / "digits").rglob("*.png"))) == 40
    assert (tmp_path / "digits" / "manifest.csv").stat().st_mtime_ns == before


def test_an_image_of_another_content_is_named(data, tmp_path):
    manifest = read_manifest(tmp_path / "digits")
    paths = manifest.train.files()
    assert other_images(manifest) == []
    shutil.copy(paths[0], paths[11])
    assert other_images(manifest) == [paths[11]]
    with pytest.raises(UserError, match=f"{paths[11]} is not the image that the manifest lists"):
        prepared(data)


def test_held_out_training_images_stand_in_for_the_validation_images(tmp_path):
    data = {"dataset": "digits", "folder": str(tmp_path / "whole")}
    prepare(data)
    whole = read_manifest(tmp_path / "whole")
    held = data | {"folder": str(tmp_path / "held"), "hold_out": 400}
    assert prepare(held) == {"train": 1037, "val": 400}
    manifest = prepared(held)
    names = {split: {path.rpartition("/")[2] for path in getattr(manifest, split).paths} for split in ("train", "val")}
    assert not names["train"] & names["val"]
    assert names["train"] | names["val"] == {path.rpartition("/")[2] for path in whole.train.paths}
    assert not set(manifest.val.hashes) & set(whole.val.hashes)
    shutil.rmtree(tmp_path / "held" / "val")
    assert prepared(held) == manifest, "written again from other images"


def test_holding_out_all_is_refused(tmp_path):
    data = {"dataset": "digits", "folder": str(tmp_path / "digits"), "hold_out": 1437}
    with pytest.raises(UserError, match="1437 of 1437 training images leave none"):
        prepare(data)
    assert not (tmp_path / "digits").exists()
