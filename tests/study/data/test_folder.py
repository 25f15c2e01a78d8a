import json
import shutil
from pathlib import Path

import pytest
from conftest import changed, make_data, make_preset

from paradise.errors import UserError
from paradise.study.data.folder import LOCK, MARKER, check_folders, data_folder
from paradise.study.data.prepare import prepare, prepared
from paradise.study.files import locked


def content(folder: Path) -> dict[str, bytes | str]:
    """Everything in `folder`, to be compared."""
    return {
        str(path.relative_to(folder)): "link"
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
        if path.name != LOCK
    }


def refused(data, message: str) -> None:
    with pytest.raises(UserError) as error:
        prepare(data, "test")
    assert str(error.value) == message


def strangers(folder: Path) -> None:
    for name in ("train/3/0001.png", "manifest.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")


@pytest.mark.parametrize(
    ("files", "first"),
    [
        (["train/3/0001.png", "manifest.csv"], "manifest.csv"),
        (["train/3/0001.png"], "train"),
        (["manifest.csv"], "manifest.csv"),
        (["prepared.json"], "prepared.json"),
        ([".hidden"], ".hidden"),
    ],
)
def test_a_folder_that_does_not_say_it_is_ours_is_left_as_it_is(tmp_path, files, first):
    folder = tmp_path / "own"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    before = content(folder)
    said = f"holds files that `prepare` did not write, such as '{first}'; name an empty or a new folder"
    refused(make_data(folder, per_class=2), f"'data.folder': {folder} {said}")
    (tmp_path / "link").symlink_to(folder)
    refused(make_data(tmp_path / "link", per_class=2), f"'data.folder': {tmp_path}/link {said}")
    assert content(folder) == before


@pytest.mark.parametrize("inside", ["train", "train/3", "val/0/0001.png", "train/3/new"])
def test_a_link_out_of_our_folder_is_not_followed(tmp_path, inside):
    data = make_data(tmp_path / "data", per_class=2)
    prepare(data, "test")
    strangers(tmp_path / "own")
    place = tmp_path / "data" / inside
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(tmp_path / "own")
    before = content(tmp_path)
    refused(data, f"{tmp_path}/data holds other files, such as {place}; choose another folder for the images")
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "place", [".", "..", "/", "config", "src", "src/new", "results", "results/new/data", ".git", "./config/../src"]
)
def test_the_projects_own_folders_are_no_place_for_data(tmp_path, monkeypatch, place):
    project = tmp_path / "project"
    project.mkdir()
    data = make_data(Path(place), per_class=2)
    monkeypatch.chdir(project)
    with pytest.raises(
        UserError, match=r"^'data\.folder': .* is no place for data, it has .* in it or is a part of it$"
    ):
        prepare(data, "test")
    assert content(tmp_path) == {"project": "folder"}


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "x").write_text("mine")
    refused(make_data(tmp_path / "x", per_class=2), f"'data.folder': {tmp_path}/x is no folder; name another")


OTHER = [({"per_class": 3}, "per_class"), ({"per_class": None}, "per_class"), ({"hold_out": 5}, "hold_out")]


@pytest.mark.parametrize("fetched", [False, True], ids=["made here", "fetched"])
@pytest.mark.parametrize(("changes", "named"), [*OTHER, ({"dataset": "fashion-mnist"}, "dataset")])
def test_a_folder_of_other_settings_is_left_as_it_is(tmp_path, monkeypatch, changes, named, fetched):
    data = make_data(tmp_path / "data", per_class=2)
    prepare(data, "test")
    if fetched:
        (tmp_path / "data" / MARKER).unlink()
    before = content(tmp_path)
    other = make_data(tmp_path / "data", **{"per_class": 2} | changes)
    for check in (data_folder(other).check, lambda: data_folder(other).claimed().__enter__()):
        with pytest.raises(UserError) as error:
            check()
        assert str(error.value) == (
            f"{tmp_path}/data was prepared with other settings ({named}), maybe for another study: name another folder "
            f"in 'data.folder', or delete {tmp_path}/data if no study needs it"
        )
    assert content(tmp_path) == before
    prepared(data)


def test_the_same_settings_are_prepared_again(tmp_path):
    data = make_data(tmp_path / "data", per_class=2)
    prepare(data, "test")
    before = content(tmp_path)
    expect = {"classes": 10, "train": 20, "val": 20}
    prepare(make_data(tmp_path / "data", per_class=2, image_size=64, resize=64, expect=expect), "another")
    after = content(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"data/prepared.json"}


def test_what_was_begun_is_gone_on_with(tmp_path):
    """A killed call leaves the folder with neither manifest nor record; so does Snakemake before a job."""
    data = make_data(tmp_path / "data", per_class=2)
    prepare(data, "test")
    (tmp_path / "data" / MARKER).unlink()
    check_folders(make_preset_of(tmp_path))
    for name in ("manifest.csv", "prepared.json"):
        (tmp_path / "data" / name).unlink()
    assert prepare(data, "test") == {"train": 20, "val": 20}


def make_preset_of(folder: Path):
    return changed(make_preset(folder / "data"), data={"per_class": 2})


@pytest.mark.parametrize("text", ["", "[]", "{", "\\udc80", '{"step": "prepare"}'])
def test_a_damaged_marker_is_another_folders(tmp_path, text):
    data = make_data(tmp_path / "data", per_class=2)
    prepare(data, "test")
    (tmp_path / "data" / MARKER).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"^.* was prepared with other settings \(.*\)"):
        prepare(data, "test")


def test_two_do_not_prepare_one_folder_at_a_time(tmp_path):
    data = make_data(tmp_path / "data", per_class=2)
    with locked(tmp_path / "data" / LOCK, "here"):
        refused(data, f"another `prepare` is at work in {tmp_path}/data; wait until it ends")
    prepare(data, "test")


def test_the_images_may_move_but_are_not_mixed_with_others(tmp_path):
    """A preset's `source` is no setting of its results; to prepare from another into the same folder is."""
    data = make_data(tmp_path / "data", per_class=2)
    prepare(data, "test")
    moved = make_data(tmp_path / "data", per_class=2, source="elsewhere")
    data_folder(moved).check()
    with pytest.raises(UserError, match=r"other settings \(source\)"):
        prepare(moved, "test")
    assert json.loads((tmp_path / "data" / MARKER).read_text())["source"] is None
