"""On small files in the data set's own format; on the real ones where they are."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from conftest import make_data
from PIL import Image

from paradise.errors import UserError
from paradise.study.data.prepare import prepare, prepared, read_pixels
from paradise.study.data.sets.fashion_mnist import DEBIAN, read_fashion_mnist


@pytest.fixture
def source(tmp_path) -> Path:
    """Thirty training and twenty test images; the pixels of each are its number."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, count in (("train", 30), ("t10k", 20)):
        images = np.repeat(np.arange(count, dtype=np.uint8), 28 * 28).tobytes()
        labels = bytes(index % 10 for index in range(count))
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">IIII", 2051, count, 28, 28) + images)
        )
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">II", 2049, count) + labels))
    return folder


def test_it_becomes_an_image_folder(source, tmp_path, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(source))
    data = make_data(tmp_path / "data", dataset="fashion-mnist", per_class=None)
    assert prepare(data, "test") == {"train": 30, "val": 20}
    manifest = prepared(data)
    assert manifest.num_classes == 10
    for path, label in zip(manifest.train.paths, manifest.train.labels):
        number = int(Path(path).stem)
        assert (label, Path(path).parent.name) == (number % 10, str(number % 10))
        assert np.asarray(Image.open(tmp_path / "data" / path)).tolist() == [[number] * 28] * 28
    (tmp_path / "data" / manifest.val.paths[7]).unlink()
    assert prepared(data) == manifest
    assert read_pixels(manifest.val).shape == (20, 28, 28, 1)


def test_the_presets_source_comes_before_the_environments(source, monkeypatch, tmp_path):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path / "gone"))
    assert len(read_fashion_mnist(str(source))["train"]) == 30
    with pytest.raises(UserError, match=r"gone/train-images-idx3-ubyte\.gz is missing; install Debian's package"):
        read_fashion_mnist()


@pytest.mark.parametrize(
    "damage,message",
    [
        (lambda data: data[:-12], r"is damaged"),
        (lambda data: b"no gzip", r"is damaged"),
        (lambda data: gzip.compress(gzip.decompress(data)[:-1]), r"is no IDX file of 3 dimensions, or is cut short"),
        (lambda data: gzip.compress(b""), r"is no IDX file"),
        (lambda data: gzip.compress(struct.pack(">IIII", 2051, 1, 2, 2) + bytes(4)), r"has 1 val images and 20 labels"),
    ],
)
def test_a_damaged_file_is_named(source, damage, message):
    path = source / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        read_fashion_mnist(str(source))


@pytest.mark.skipif(not Path(DEBIAN).exists(), reason=f"no Fashion-MNIST in {DEBIAN} (package dataset-fashion-mnist)")
def test_the_real_one():
    splits = read_fashion_mnist(DEBIAN)
    for split, each in (("train", 6000), ("val", 1000)):
        labels = [label for _, label, _ in splits[split]]
        assert np.bincount(labels).tolist() == [each] * 10
    assert splits["train"][0][1] == 9 and splits["train"][0][2].shape == (28, 28)
