import numpy as np
from conftest import make_data
from PIL import Image
from sklearn.datasets import load_digits

from paradise.study.data.manifest import read_manifest
from paradise.study.data.prepare import prepare


def write_digits(folder) -> dict[str, int]:
    return prepare(make_data(folder, per_class=None), "test")


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
