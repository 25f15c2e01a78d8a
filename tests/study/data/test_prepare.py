import json
import shutil
from pathlib import Path

import pytest
from conftest import make_data

from paradise.errors import UserError
from paradise.study.code import fingerprint
from paradise.study.data.manifest import other_images, read_manifest
from paradise.study.data.prepare import prepare, prepared
from paradise.study.hashes import sha256
from paradise.study.preset import Data


@pytest.fixture
def data(tmp_path) -> Data:
    data = make_data(tmp_path / "digits", per_class=2)
    assert prepare(data, "test") == {"train": 20, "val": 20}
    return data


def other(data: Data, **changes) -> Data:
    """`data` of the same folder with other values."""
    return make_data(Path(data.folder), **{"per_class": data.per_class} | changes)


def test_the_record_says_what_was_prepared(data):
    folder = Path(data.folder)
    record = json.loads((folder / "prepared.json").read_text())
    assert set(record) == {
        *("step", "preset", "of", "settings", "inputs", "outputs", "code", "seal"),
        *("time", "commit", "versions", "machine"),
        *("classes", "train", "val"),
    }
    assert (record["step"], record["preset"], record["of"], record["inputs"]) == ("prepare", "test", {}, {})
    assert record["settings"] == {"data": {"dataset": "digits", "per_class": 2}}
    assert record["outputs"] == {"manifest.csv": sha256(folder / "manifest.csv")}
    assert record["code"] == fingerprint("paradise.study.data.prepare", "paradise.study.data.sets.digits")
    assert (record["classes"], record["train"], record["val"]) == (10, 20, 20)


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
    with pytest.raises(UserError) as refused:
        prepared(data)
    assert str(refused.value) == (f"{paths[11]} is not the image that the manifest lists; run `paradise prepare` again")


def test_a_folder_without_a_record_is_refused(data, tmp_path):
    (tmp_path / "digits" / "prepared.json").unlink()
    with pytest.raises(UserError) as refused:
        prepared(data)
    record = tmp_path / "digits" / "prepared.json"
    assert str(refused.value) == f"{record} is missing; run `paradise prepare` with this preset"


@pytest.mark.parametrize(
    "changes", [{"per_class": 3}, {"per_class": None}, {"hold_out": 5}, {"dataset": "fashion-mnist"}]
)
def test_a_folder_prepared_with_other_settings_is_refused(data, tmp_path, changes):
    with pytest.raises(UserError) as refused:
        prepared(other(data, **changes))
    assert str(refused.value) == (
        f"{tmp_path / 'digits'} was prepared with other settings; run `paradise prepare` with this preset"
    )


@pytest.mark.parametrize(
    "changes", [{"image_size": 64, "resize": 70}, {"loader": "memory"}, {"mean": [0.5, 0.5, 0.5]}, {"decoder": "cpu"}]
)
def test_what_the_network_sees_of_the_images_is_no_matter_of_preparing(data, tmp_path, changes):
    assert prepared(other(data, **changes)) == read_manifest(tmp_path / "digits")


def test_what_was_to_be_found_is_no_matter_once_it_was(data, tmp_path):
    """A run's record does not name it, and is evaluated all the same."""
    assert prepared(other(data, expect={"classes": 10, "train": 20, "val": 20})) == read_manifest(tmp_path / "digits")


def test_a_manifest_that_changed_since_is_refused(data, tmp_path):
    manifest = tmp_path / "digits" / "manifest.csv"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError) as refused:
        prepared(data)
    assert str(refused.value) == f"{manifest} changed since it was made; run `paradise prepare` with this preset"


def test_a_record_that_was_edited_is_refused(data, tmp_path):
    path = tmp_path / "digits" / "prepared.json"
    path.write_text(path.read_text().replace('"train": 20', '"train": 21'))
    with pytest.raises(UserError) as refused:
        prepared(data)
    assert str(refused.value) == f"{path} is damaged (edited by hand); run `paradise prepare` with this preset"


def test_held_out_training_images_stand_in_for_the_validation_images(tmp_path):
    prepare(make_data(tmp_path / "whole", per_class=None), "test")
    whole = read_manifest(tmp_path / "whole")
    held = make_data(tmp_path / "held", per_class=None, hold_out=400)
    assert prepare(held, "test") == {"train": 1037, "val": 400}
    manifest = prepared(held)
    names = {split: {path.rpartition("/")[2] for path in getattr(manifest, split).paths} for split in ("train", "val")}
    assert not names["train"] & names["val"]
    assert names["train"] | names["val"] == {path.rpartition("/")[2] for path in whole.train.paths}
    assert not set(manifest.val.hashes) & set(whole.val.hashes)
    shutil.rmtree(tmp_path / "held" / "val")
    assert prepared(held) == manifest, "written again from other images"


def test_holding_out_all_is_refused(tmp_path):
    with pytest.raises(UserError) as refused:
        prepare(make_data(tmp_path / "digits", per_class=None, hold_out=1437), "test")
    assert str(refused.value) == "'data.hold_out': 1437 of 1437 training images leave none to train on"
    assert not (tmp_path / "digits").exists()
