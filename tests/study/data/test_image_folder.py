"""On folders of ImageNet's layout: three classes, four training and two validation images of each."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY, make_data, preset_values
from PIL import Image
from scipy.io import savemat

from paradise.errors import UserError
from paradise.study.data import image_folder
from paradise.study.data.prepare import prepare, prepared
from paradise.study.hashes import sha256
from paradise.study.preset import Data

WNIDS = ["n01440764", "n02102040", "n03000684"]
EXPECT = {"classes": 3, "train": 12, "val": 6}


def save(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (value, value, value)).save(path, format="jpeg")


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "imagenet"
    for label, wnid in enumerate(WNIDS):
        for number in range(4):
            save(root / "train" / wnid / f"{wnid}_{number}.JPEG", 10 * label + number)
        for number in range(2):
            save(root / "val" / wnid / f"ILSVRC2012_val_{2 * label + number + 1:08d}.JPEG", 100 + label)
    return root


@pytest.fixture
def flat(root) -> Path:
    """Its validation folder as published: flat, and a kit whose class numbers are in no alphabetical order."""
    numbers = {"n01440764": 3, "n02102040": 1, "n03000684": 2, "n00001740": 4}  # the last is no leaf, and no class
    truth = []
    for wnid in WNIDS:
        for path in sorted((root / "val" / wnid).iterdir()):
            path.rename(root / "val" / path.name)
            truth.append(str(numbers[wnid]))
        (root / "val" / wnid).rmdir()
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(truth) + "\n")
    synsets = np.array(
        [(number, wnid, "words") for wnid, number in numbers.items()],
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")],
    )
    savemat(kit / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    return root


@pytest.fixture
def data(root, tmp_path) -> Data:
    return make_data(tmp_path / "data", dataset="imagenet", source=str(root), expect=EXPECT, per_class=None)


def labels(data: Data) -> dict[str, int]:
    manifest = prepared(data)
    return dict(zip(map(Path, manifest.val.paths), manifest.val.labels))


def test_it_is_listed_and_checked_where_it_lies(data, root, tmp_path):
    before = sorted(root.rglob("*"))
    assert prepare(data, "test") == {"train": 12, "val": 6}
    manifest = prepared(data)
    assert sorted(root.rglob("*")) == before
    written = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert written == [".made-with.json", ".prepare.lock", "checked.csv", "manifest.csv", "prepared.json"]
    assert manifest.num_classes == 3
    assert manifest.train.labels == [0] * 4 + [1] * 4 + [2] * 4
    assert manifest.train.files()[5] == str(root / "train" / "n02102040" / "n02102040_1.JPEG")
    assert manifest.train.hashes[5] == sha256(Path(manifest.train.files()[5]))


def test_the_environment_names_the_folder(root, tmp_path, monkeypatch):
    data = make_data(tmp_path / "data", dataset="imagenet", expect=EXPECT, per_class=None)
    monkeypatch.setenv("IMAGENET_DIR", str(root))
    assert prepare(data, "test") == {"train": 12, "val": 6}
    monkeypatch.delenv("IMAGENET_DIR")
    with pytest.raises(UserError, match="Set IMAGENET_DIR"):
        prepare(data, "test")


def test_images_are_held_out_of_arrays_alone(root, tmp_path):
    data = make_data(tmp_path / "data", dataset="imagenet", source=str(root), per_class=None, hold_out=5)
    with pytest.raises(UserError) as refused:
        prepare(data, "test")
    assert str(refused.value) == "'data.hold_out' is not for imagenet: take it out of the preset"
    assert not (tmp_path / "data").exists()


def test_a_flat_validation_folder_has_the_kits_classes(data, flat):
    assert prepare(data, "test") == {"train": 12, "val": 6}
    assert labels(data) == {Path(f"val/ILSVRC2012_val_{n + 1:08d}.JPEG"): n // 2 for n in range(6)}


@pytest.mark.parametrize(
    "damage,message",
    [
        (lambda root: shutil.rmtree(root / "train" / WNIDS[1]), "class n02102040 is in val and not in train"),
        (lambda root: shutil.rmtree(root / "val" / WNIDS[1]), "class n02102040 is in train and not in val"),
        (lambda root: [shutil.rmtree(root / s / WNIDS[1]) for s in ("train", "val")], "has 2 class folders, not the 3"),
        (lambda root: (root / "train" / "n0").mkdir(), "class n0 is in train"),
        (lambda root: [path.unlink() for path in (root / "train" / WNIDS[1]).iterdir()], "n02102040 is empty"),
        (lambda root: next((root / "val" / WNIDS[1]).iterdir()).unlink(), "val has 5 images, not the 6"),
        (lambda root: shutil.rmtree(root / "val"), r"imagenet/val is no folder"),
        (lambda root: shutil.rmtree(root), r"imagenet is no folder"),
    ],
)
def test_what_is_missing_is_named(data, root, damage, message):
    damage(root)
    with pytest.raises(UserError, match=message):
        prepare(data, "test")
    assert not Path(data.folder, "manifest.csv").exists()


@pytest.mark.parametrize(
    "damage,message",
    [
        (lambda root, kit: shutil.rmtree(kit), "no development kit beside it"),
        (lambda root, kit: (kit / "meta.mat").unlink(), "meta.mat is missing"),
        (lambda root, kit: (kit / "meta.mat").write_bytes(b"x" * 200), "meta.mat is damaged"),
        (lambda root, kit: save(root / "val" / "ILSVRC2012_val_00000007.JPEG", 1), "none of the 6 validation images"),
        (lambda root, kit: shutil.rmtree(root / "train" / WNIDS[2]), "is of class n03000684, which .*train lacks"),
    ],
)
def test_what_a_kit_does_not_tell_is_named(data, flat, damage, message):
    damage(flat, flat / "ILSVRC2012_devkit_t12" / "data")
    with pytest.raises(UserError, match=message):
        prepare(data, "test")


CLASS = f"train/{WNIDS[0]}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{CLASS}/deeper/x.JPEG", "{root}/train/n01440764/deeper is a folder: images lie in their class's folder"),
        (f"{CLASS}/.DS_Store", "{root}/train/n01440764/.DS_Store is no image; move it away (1 such in "),
        (f"{CLASS}/Thumbs.db", "{root}/train/n01440764/Thumbs.db is no image; move it away (1 such in "),
        ("train/x.JPEG", "{root}/train/x.JPEG lies beside the class folders; move it away (1 such)"),
        ("val/x.JPEG", "{root}/val/x.JPEG lies beside the class folders; move it away (1 such)"),
        ("train/.hidden/x.JPEG", "{root}: class .hidden is in train and not in val (1 such classes)"),
        ("val/n9/x.JPEG", "{root}: class n9 is in val and not in train (1 such classes)"),
        (
            f"{CLASS}/a\nb.JPEG",
            "{root}/train/n01440764 has a file of the name 'a\\nb.JPEG', which is no printable UTF-8",
        ),
        (
            f"{CLASS}/a\rb.JPEG",
            "{root}/train/n01440764 has a file of the name 'a\\rb.JPEG', which is no printable UTF-8",
        ),
        (f"{CLASS}/\udce9.JPEG", "{root}/train/n01440764 has a file of the name '\\\\xe9.JPEG', which is no printable"),
        ("train/N01440764/x.JPEG", "{root}/train has 'N01440764' and 'n01440764', which differ by case alone; rename"),
        (
            f"{CLASS}/N01440764_0.jpeg",
            "{root}/train/n01440764 has 'N01440764_0.jpeg' and 'n01440764_0.JPEG', which differ",
        ),
    ],
)
def test_nothing_is_left_out_without_a_word(data, root, name, message):
    save(root / name, 1)
    with pytest.raises(UserError) as refused:
        prepare(data, "test")
    assert str(refused.value).startswith(message.format(root=root)) and str(refused.value).isprintable()
    assert not Path(data.folder, "manifest.csv").exists()


def test_a_link_to_nothing_is_named_and_one_that_leads_out_is_followed(data, root, tmp_path):
    link = root / CLASS / "n01440764_0.JPEG"
    outside = shutil.move(link, tmp_path / "outside.JPEG")
    link.symlink_to(tmp_path / "gone.JPEG")
    with pytest.raises(UserError) as refused:
        prepare(data, "test")
    assert str(refused.value) == f"{link} is a link to nothing; move it away (1 such in {link.parent})"
    link.unlink()
    link.symlink_to(outside)
    assert prepare(data, "test") == {"train": 12, "val": 6}
    assert prepared(data).train.hashes[0] == sha256(Path(outside))


@pytest.fixture
def tiny(root) -> Path:
    """The images in Tiny ImageNet's layout."""
    lines = []
    (root / "val" / "images").mkdir()
    for wnid in WNIDS:
        (root / "train" / wnid / "images").mkdir()
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        for path in sorted((root / "train" / wnid).glob("*.JPEG")):
            path.rename(path.parent / "images" / path.name)
        for path in sorted((root / "val" / wnid).iterdir()):
            path.rename(root / "val" / "images" / path.name)
            lines.append(f"{path.name}\t{wnid}\t0\t0\t9\t9\n")
        (root / "val" / wnid).rmdir()
    (root / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    return root


def test_tiny_imagenets_layout_is_read(data, tiny):
    assert prepare(data, "test") == {"train": 12, "val": 6}
    assert labels(data) == {Path(f"val/images/ILSVRC2012_val_{n + 1:08d}.JPEG"): n // 2 for n in range(6)}
    assert prepared(data).train.paths[4] == "train/n02102040/images/n02102040_0.JPEG"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[1:], "val_00000006.JPEG is not in .*val_annotations.txt \\(1 such\\)"),
        (lambda lines: [*lines, "x.JPEG\tn01440764"], "x.JPEG is missing, and in .*val_annotations.txt"),
        (lambda lines: [line.replace(WNIDS[2], "n9") for line in lines], "is of class n9, which .*train lacks"),
        (lambda lines: ["x"], "val_annotations.txt is damaged"),
    ],
)
def test_what_tiny_imagenets_annotations_do_not_say_is_named(data, tiny, change, message):
    path = tiny / "val" / "val_annotations.txt"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(UserError, match=message):
        prepare(data, "test")


def test_all_unreadable_images_are_named_and_what_was_checked_is_not_read_again(data, root, tmp_path, monkeypatch):
    bad = [root / "train" / WNIDS[0] / f"{WNIDS[0]}_2.JPEG", root / "val" / WNIDS[2] / "ILSVRC2012_val_00000006.JPEG"]
    bad[0].write_text("no image")
    bad[1].write_bytes(bad[1].read_bytes()[:300])
    with pytest.raises(UserError, match=rf"{bad[0]} cannot be read .*; 2 of 18 images are so, all named in .*\.txt"):
        prepare(data, "test")
    lines = (tmp_path / "data" / "unreadable.txt").read_text().splitlines()
    assert [line.split(" cannot ")[0] for line in lines] == [str(path) for path in bad]
    assert not (tmp_path / "data" / "manifest.csv").exists()

    for path in bad:
        save(path, 1)
    read = []
    whole = image_folder.check_all
    monkeypatch.setattr(image_folder, "check_all", lambda paths, threads: whole(read.extend(paths) or paths, threads))
    assert prepare(data, "test") == {"train": 12, "val": 6}
    assert read == [str(path) for path in bad]
    assert not (tmp_path / "data" / "unreadable.txt").exists()


def test_an_image_that_changed_is_checked_again(data, root):
    prepare(data, "test")
    path = root / "train" / WNIDS[0] / f"{WNIDS[0]}_2.JPEG"
    path.write_text("no image")
    with pytest.raises(UserError, match=f"{path} cannot be read"):
        prepare(data, "test")


def test_a_line_that_was_cut_is_no_line(data, tmp_path):
    prepare(data, "test")
    before = (tmp_path / "data" / "manifest.csv").read_bytes()
    journal = tmp_path / "data" / "checked.csv"
    journal.write_bytes(journal.read_bytes()[:-30])
    prepare(data, "test")
    assert (tmp_path / "data" / "manifest.csv").read_bytes() == before


@pytest.mark.slow
def test_a_killed_check_goes_on(tmp_path):
    """`kill -9` at random moments; each call reads only what those before it left."""
    root = tmp_path / "imagenet"
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    for wnid in WNIDS:
        for split, count in (("train", 200), ("val", 2)):
            (root / split / wnid).mkdir(parents=True)
            for number in range(count):
                path = root / split / wnid / f"{wnid}_{number}.JPEG"
                if number:
                    shutil.copy(path.with_name(f"{wnid}_0.JPEG"), path)
                else:
                    Image.fromarray(noise).save(path)
    values = preset_values(tmp_path / "data")
    del values["data"]["per_class"]
    values["data"] |= {"dataset": "imagenet", "source": str(root)}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "paradise", "prepare", "--preset", str(tmp_path / "p.yaml"), "--threads", "2"]
    journal, random_moment = tmp_path / "data" / "checked.csv", random.Random(0)
    checked = 0
    while True:
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, start_new_session=True)
        while process.poll() is None and not (journal.exists() and len(journal.read_bytes().splitlines()) > checked):
            time.sleep(0.02)
        time.sleep(random_moment.uniform(0, 0.3))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = len(journal.read_bytes().splitlines())
        assert now > checked
        checked = now
    assert checked and process.returncode == 0, process.stderr.read()
    lines = (tmp_path / "data" / "manifest.csv").read_text().splitlines()
    assert len(lines) == 1 + 606 and len({line.split(",")[1] for line in lines[1:]}) == 606
