import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from paradise.data.digits import write_digits
from paradise.data.manifest import read_manifest
from paradise.errors import UserError
from paradise.files import sha256


def test_all_digits_are_written_once(tmp_path):
    assert write_digits(tmp_path) == {"train": 1437, "val": 360}
    manifest = read_manifest(tmp_path)
    files = manifest.train.files() + manifest.val.files()
    assert sorted(files) == sorted(str(path) for path in tmp_path.rglob("*.png"))
    images, labels = load_digits(return_X_y=True)
    indices = [int(path.rpartition("/")[2].removesuffix(".png")) for path in files]
    assert sorted(indices) == list(range(1797))
    assert [int(label) for label in labels[indices]] == manifest.train.labels + manifest.val.labels
    for path, index in list(zip(files, indices))[::100]:
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.round(images[index].reshape(8, 8) * 255 / 16))


def test_the_split_is_stratified(tmp_path):
    write_digits(tmp_path)
    counts = np.bincount(read_manifest(tmp_path).val.labels)
    shares = counts / np.bincount(load_digits().target)
    assert shares.min() > 0.19 and shares.max() < 0.21


def test_writing_again_gives_the_same_bytes_and_removes_what_was_there(tmp_path):
    write_digits(tmp_path)
    before = {path: sha256(path) for path in tmp_path.rglob("*") if path.is_file()}
    write_digits(tmp_path, per_class=2)
    assert len(list(tmp_path.rglob("*.png"))) == 40
    write_digits(tmp_path)
    assert {path: sha256(path) for path in tmp_path.rglob("*") if path.is_file()} == before


def test_files_of_others_are_not_deleted(tmp_path):
    write_digits(tmp_path, per_class=1)
    photograph = tmp_path / "train" / "3" / "holiday.png"
    photograph.write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"holds other files, such as .*holiday\.png"):
        write_digits(tmp_path, per_class=2)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_manifest_is_plain_csv(digits):
    with (digits / "manifest.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["split", "path", "label", "sha256"]
    assert len(lines) == 1 + 160
