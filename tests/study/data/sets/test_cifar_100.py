"""On archives and folders of the published layout with four classes and a few images."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paradise.errors import UserError
from paradise.study.data.sets import cifar_100
from paradise.study.data.sets.cifar_100 import read_cifar_100

NAMES = ("apple", "bear", "can", "dolphin")
COUNTS = {"train": 3, "val": 2}


@pytest.fixture
def images(monkeypatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Labels and pixels of each split, which the data set's numbers are changed to."""
    monkeypatch.setattr(cifar_100, "CLASSES", len(NAMES))
    monkeypatch.setattr(cifar_100, "OF_EACH_CLASS", COUNTS)
    generator, made = np.random.default_rng(0), {}
    for split, count in COUNTS.items():
        labels = generator.permutation(np.repeat(np.arange(len(NAMES)), count))
        made[split] = labels, generator.integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
    return made


def binary(images) -> dict[str, bytes]:
    files = {}
    for name, (labels, pixels) in zip(("train.bin", "test.bin"), images.values()):
        planes = pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        files[name] = np.concatenate([np.stack((labels // 2, labels), 1).astype(np.uint8), planes], 1).tobytes()
    return files


def python(images) -> dict[str, bytes]:
    files = {"meta": b""}
    for name, (labels, pixels) in zip(("train", "test"), images.values()):
        planes = pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        values = {b"fine_labels": labels.tolist(), b"coarse_labels": (labels // 2).tolist(), b"data": planes}
        content = pickle.dumps(values, protocol=2)
        # As NumPy named it when the archive was made, and as it does now.
        files[name] = content.replace(b"numpy._core", b"numpy.core") if name == "train" else content
    return files


def folders(folder: Path, images) -> None:
    for split, (labels, pixels) in zip(("train", "test"), images.values()):
        for number, (label, image) in enumerate(zip(labels, pixels)):
            path = folder / split / NAMES[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def publish(monkeypatch, form: str, files: dict[str, bytes]) -> None:
    """Makes these files the published ones."""
    md5s = {name: hashlib.md5(content).hexdigest() for name, content in files.items() if name != "meta"}
    monkeypatch.setitem(cifar_100.MD5S, form, md5s)


def pack(path: Path, form: str, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{form}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


FORMS = {"cifar-100-binary": binary, "cifar-100-python": python}


def test_every_form_gives_the_same_images(images, tmp_path, monkeypatch):
    folders(tmp_path / "folders", images)
    expected = read_cifar_100(str(tmp_path / "folders"))
    sources = []
    for form, write in FORMS.items():
        files = write(images)
        publish(monkeypatch, form, files)
        sources.append(pack(tmp_path / f"{form}.tar.gz", form, files))
        (tmp_path / form / "packed").mkdir(parents=True)
        sources.append(pack(tmp_path / form / "packed" / f"{form}.tar.gz", form, files).parent)
        unpacked = tmp_path / form / "unpacked" / form
        unpacked.mkdir(parents=True)
        for name, content in files.items():
            (unpacked / name).write_bytes(content)
        sources += [unpacked, unpacked.parent]
    for source in sources:
        found = read_cifar_100(str(source))
        assert found.keys() == expected.keys()
        for split, listed in found.items():
            assert len(listed) == len(expected[split]) == len(NAMES) * COUNTS[split]
            for ours, theirs in zip(listed, expected[split]):
                assert ours[:2] == theirs[:2] and np.array_equal(ours[2], theirs[2])


def test_pixels_and_labels_are_those_that_were_written(images, tmp_path):
    folders(tmp_path, images)
    for split, (labels, pixels) in images.items():
        written = {image.tobytes(): label for label, image in zip(labels, pixels)}
        listed = read_cifar_100(str(tmp_path))[split]
        assert {image.tobytes(): label for _, label, image in listed} == written
        assert [name for name, _, _ in listed] == [f"{i:05d}" for i in range(len(labels))]


def test_the_environment_says_where_it_is(images, tmp_path, monkeypatch):
    folders(tmp_path, images)
    monkeypatch.setenv("CIFAR100_DIR", str(tmp_path))
    assert len(read_cifar_100()["train"]) == 12
    monkeypatch.delenv("CIFAR100_DIR")
    with pytest.raises(
        UserError, match=r"^where is CIFAR-100\? Set CIFAR100_DIR, or 'data\.source' in the preset, to "
    ):
        read_cifar_100()


class Foreign:
    def __reduce__(self):
        return eval, ("1 + 1",)


def with_global(files):
    return files | {"train": pickle.dumps({b"fine_labels": [Foreign()], b"data": b""}, protocol=2)}


def without_a_key(files):
    return files | {"train": pickle.dumps({b"data": b""}, protocol=2)}


def with_fewer_pixels(files):
    values = {b"fine_labels": [0, 1], b"data": np.zeros((2, 3071), np.uint8)}
    return files | {"train": pickle.dumps(values, protocol=2)}


@pytest.mark.parametrize(
    ("form", "change", "message"),
    [
        (
            "cifar-100-binary",
            lambda files: files | {"train.bin": files["train.bin"][:-1]},
            r"train\.bin is cut short: 36887 ",
        ),
        ("cifar-100-python", with_global, r"train is not as .* names __builtin__\.eval, which could run anything"),
        ("cifar-100-python", without_a_key, r"train is not as CIFAR-100's pickles are"),
        ("cifar-100-python", with_fewer_pixels, r"train is not as CIFAR-100's pickles are"),
        (
            "cifar-100-python",
            lambda files: files | {"test": files["test"][:-5]},
            r"test is not as CIFAR-100's pickles are",
        ),
    ],
    ids=["cut short", "foreign global", "without a key", "fewer pixels", "a pickle cut off"],
)
def test_files_that_are_not_right_inside_are_refused(images, tmp_path, monkeypatch, form, change, message):
    files = change(FORMS[form](images))
    publish(monkeypatch, form, files)
    with pytest.raises(UserError, match=message):
        read_cifar_100(str(pack(tmp_path / "archive.tar.gz", form, files)))


def test_other_archives_are_refused(images, tmp_path):
    source = tmp_path / "cifar-100-binary.tar.gz"
    pack(source, "cifar-100-binary", binary(images))
    with pytest.raises(UserError, match=r"train\.bin is not the published file: its MD5 is another than 6172c775"):
        read_cifar_100(str(source))
    source.write_bytes(source.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"\.tar\.gz is no archive, or is damaged \(.*\); fetch it again$"):
        read_cifar_100(str(source))
    pack(source, "cifar-10-batches-bin", {"data_batch_1.bin": b"x", "test_batch.bin": b"x"})
    with pytest.raises(UserError, match=r"is not CIFAR-100: it must hold cifar-100-binary/ or cifar-100-python/"):
        read_cifar_100(str(source))
    source.write_text("no archive")
    with pytest.raises(UserError, match=r"is no archive, or is damaged"):
        read_cifar_100(str(source))
    with pytest.raises(UserError, match=r"nothing is not CIFAR-100; CIFAR100_DIR, or 'data\.source', must be "):
        read_cifar_100(str(tmp_path / "nothing"))


def test_other_folders_are_refused(images, tmp_path, monkeypatch):
    folders(tmp_path, images)
    some = next((tmp_path / "train" / "can").iterdir())
    Image.new("L", (32, 32)).save(some)
    with pytest.raises(UserError, match=rf"{some} is 32×32 L, not 32×32 RGB"):
        read_cifar_100(str(tmp_path))
    some.write_text("no image")
    with pytest.raises(UserError, match=rf"{some} is no image, or is damaged"):
        read_cifar_100(str(tmp_path))
    some.unlink()
    with pytest.raises(UserError, match=r"has 2 images of class 2 in 'train', CIFAR-100 3"):
        read_cifar_100(str(tmp_path))
    monkeypatch.setattr(cifar_100, "CLASSES", 100)
    with pytest.raises(UserError, match=r"train has 4 class folders, CIFAR-100 100"):
        read_cifar_100(str(tmp_path))
