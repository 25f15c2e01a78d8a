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
