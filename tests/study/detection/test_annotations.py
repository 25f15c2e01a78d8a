"""What of annotations in COCO's format is refused, in one line with file, entry and key; nothing fails otherwise."""

import copy
import json
import os
from pathlib import Path

import pytest
from coco_sets import content, section_of, source_file, write_set
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paradise.errors import UserError
from paradise.study.detection import annotations
from paradise.study.detection.annotations import read_annotations
from paradise.study.detection.data import prepare


def setting(what, number, key, value):
    """An edit of one value in train; of the entry itself where there is no key."""

    def edit(coco, split):
        if split == "train" and key is None:
            coco[what][number] = value
        elif split == "train":
            coco[what][number][key] = value

    return edit


def deleting(what, number, key):
    def edit(coco, split):
        if split == "train":
            del coco[what][number][key]

    return edit


def replacing(what, value):
    def edit(coco, split):
        if split == "train":
            coco[what] = value

    return edit


def in_val(what, number, key, value):
    def edit(coco, split):
        if split == "val":
            coco[what][number][key] = value

    return edit


def all_crowds(coco, split):
    for one in coco["annotations"]:
        one["iscrowd"] = 1


BOX = "annotations[2] (id 3): 'bbox' is"
REFUSED = [
    (replacing("images", {}), "'images' is no list"),
    (replacing("annotations", None), "'annotations' is no list"),
    (replacing("categories", "cat"), "'categories' is no list"),
    (replacing("images", []), "'images' is empty"),
    (replacing("categories", []), "'categories' is empty"),
    (replacing("annotations", []), "'annotations' has no object that counts, of a pixel or more and no crowd"),
    (all_crowds, "'annotations' has no object that counts, of a pixel or more and no crowd"),
    (setting("annotations", 2, None, [1, 2]), "annotations[2] is no object"),
    (setting("images", 1, None, None), "images[1] is no object"),
    (deleting("images", 1, "id"), "images[1]: 'id' is missing"),
    (deleting("images", 1, "file_name"), "images[1] (id 1): 'file_name' is missing"),
    (deleting("categories", 1, "name"), "categories[1] (id 2): 'name' is missing"),
    (deleting("annotations", 2, "bbox"), "annotations[2] (id 3): 'bbox' is missing"),
    (deleting("annotations", 2, "image_id"), "annotations[2] (id 3): 'image_id' is missing"),
    (deleting("annotations", 2, "category_id"), "annotations[2] (id 3): 'category_id' is missing"),
    (setting("images", 1, "id", True), "images[1] (id True): 'id' is True, neither an integer nor a text"),
    (setting("images", 1, "id", 1.5), "images[1] (id 1.5): 'id' is 1.5, neither an integer nor a text"),
    (setting("images", 1, "id", [1]), "images[1] (id [1]): 'id' is [1], neither an integer nor a text"),
    (setting("images", 1, "id", ""), "images[1] (id ''): 'id' is '', neither an integer nor a text"),
    (setting("images", 1, "id", 0), "images[0] and images[1] have the same 'id' 0"),
    (setting("images", 1, "id", "0"), "images[0] and images[1] have the same 'id' 0"),
    (setting("images", 1, "file_name", 1), "images[1] (id 1): 'file_name' is 1, no text"),
    (setting("images", 1, "file_name", " "), "images[1] (id 1): 'file_name' is ' ', no text"),
    (setting("images", 1, "file_name", "\ud800"), r"images[1] (id 1): 'file_name' is '\ud800', half a character"),
    (setting("images", 1, "width", "96"), "images[1] (id 1): 'width' is '96', no number of pixels"),
    (setting("images", 1, "width", 0), "images[1] (id 1): 'width' is 0, no number of pixels"),
    (setting("images", 1, "height", 95.5), "images[1] (id 1): 'height' is 95.5, no number of pixels"),
    (setting("images", 1, "height", float("inf")), "images[1] (id 1): 'height' is inf, no number of pixels"),
    (setting("categories", 1, "id", None), "categories[1]: 'id' is None, neither an integer nor a text"),
    (setting("categories", 1, "id", 1), "categories[0] and categories[1] have the same 'id' 1"),
    (setting("categories", 1, "name", "cat"), "categories[0] and categories[1] have the same 'name' 'cat'"),
    (setting("categories", 1, "name", 7), "categories[1] (id 2): 'name' is 7, no text"),
    (setting("categories", 1, "name", ""), "categories[1] (id 2): 'name' is '', no text"),
    (setting("annotations", 2, "bbox", "4,4,9,9"), f"{BOX} '4,4,9,9', not four numbers"),
    (setting("annotations", 2, "bbox", ["4", "4", "9", "9"]), f"{BOX} ['4', '4', '9', '9'], not four numbers"),
    (setting("annotations", 2, "bbox", [4, 4, 9]), f"{BOX} [4, 4, 9], not four numbers"),
    (setting("annotations", 2, "bbox", [4, 4, 9, None]), f"{BOX} [4, 4, 9, None], not four numbers"),
    (setting("annotations", 2, "bbox", [4, 4, 9, True]), f"{BOX} [4, 4, 9, True], not four numbers"),
    (setting("annotations", 2, "bbox", [4, 4, 9, float("nan")]), f"{BOX} [4, 4, 9, nan], not four numbers"),
    (setting("annotations", 2, "bbox", [4, 4, 9, 1 << 60]), f"{BOX} [4, 4, 9, {1 << 60}], not four numbers"),
    (
        setting("annotations", 2, "bbox", [4, 4, -9, 9]),
        f"{BOX} [4, 4, -9, 9]: left, top, width and height, of which no size is below 0",
    ),
    (
        setting("annotations", 2, "bbox", [100, 4, 9, 9]),
        f"{BOX} [100, 4, 9, 9], outside of an image of 96 × 96 pixels; cut it to what is seen",
    ),
    (
        setting("annotations", 2, "bbox", [4, -3, 9, 9]),
        f"{BOX} [4, -3, 9, 9], outside of an image of 96 × 96 pixels; cut it to what is seen",
    ),
    (
        setting("annotations", 2, "bbox", [90, 4, 9, 9]),
        f"{BOX} [90, 4, 9, 9], outside of an image of 96 × 96 pixels; cut it to what is seen",
    ),
    (
        setting("annotations", 2, "bbox", [-1.5, 4, 1.25, 9]),
        f"{BOX} [-1.5, 4, 1.25, 9], outside of an image of 96 × 96 pixels; cut it to what is seen",
    ),
    (in_val("annotations", 2, "bbox", [4, 4, 0, 9]), f"{BOX} [4, 4, 0, 9], without any area; leave the annotation out"),
    (
        setting("annotations", 2, "area", "9"),
        "annotations[2] (id 3): 'area' is '9', no number of square pixels",
    ),
    (setting("annotations", 2, "area", -1), "annotations[2] (id 3): 'area' is -1, no number of square pixels"),
    (
        setting("annotations", 2, "area", 0),
        "annotations[2] (id 3): 'area' is 0 and the box's is not; leave out an area that nobody measured",
    ),
    (setting("annotations", 2, "iscrowd", 2), "annotations[2] (id 3): 'iscrowd' is 2, neither 0 nor 1"),
    (setting("annotations", 2, "iscrowd", "0"), "annotations[2] (id 3): 'iscrowd' is '0', neither 0 nor 1"),
    (
        setting("annotations", 2, "ignore", 1),
        "annotations[2] (id 3): 'ignore' is 1, which pycocotools does not read; say 'iscrowd': 1",
    ),
    (setting("annotations", 2, "image_id", 9), "annotations[2] (id 3): 'image_id' is 9, of no image that is listed"),
    (
        setting("annotations", 2, "category_id", 3),
        "annotations[2] (id 3): 'category_id' is 3, of no category that is listed",
    ),
]


@pytest.mark.parametrize(("edit", "said"), REFUSED, ids=[said[:60] for _, said in REFUSED])
def test_what_cannot_be_kept_is_refused_by_file_entry_and_key(tmp_path, edit, said):
    section = write_set(tmp_path, edit)
    with pytest.raises(UserError) as raised:
        prepare(section, "small")
    split = "val" if "without any area" in said else "train"
    assert str(raised.value) == f"{source_file(tmp_path, split)}: {said}"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("Cat", "dog"), "lacks 'cat' and has 'Cat'"),
        (("cat ", "dog"), "lacks 'cat' and has 'cat '"),
        (("cat", "d\nog"), r"lacks 'dog' and has 'd\nog'"),
    ],
)
def test_names_that_differ_between_the_splits_are_refused(tmp_path, names, said):
    def edit(coco, split):
        if split == "val":
            coco["categories"] = [{"id": number, "name": name} for number, name in enumerate(names, 1)]

    section = write_set(tmp_path, edit)
    with pytest.raises(UserError) as raised:
        prepare(section, "small")
    assert str(raised.value) == (
        f"{source_file(tmp_path, 'val')}: 'categories' {said}, unlike {source_file(tmp_path, 'train')}; "
        "both must have the same names"
    )


TEXT = json.dumps(content("train")[0])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", r"Expecting value.*"),
        (b"{", r"Expecting property name.*"),
        (TEXT[:-9].encode(), r"Expecting .*|Unterminated .*"),
        (TEXT.replace("cat", "caf\u00e9").replace("\\u00e9", "é").encode("latin-1"), r"'utf-8' codec can't decode .*"),
        (b'{"images": [], "images": [], "annotations": [], "categories": []}', r"an object has the key 'images' twice"),
        (b"[" * 100_000, r".*recursion.*"),
        (b'{"images": ' + b"9" * 5000 + b"}", r".*digits.*"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path, written, said):
    path = tmp_path / "instances.json"
    path.write_bytes(written)
    with pytest.raises(UserError, match=rf"^{path} is no annotation file of COCO's format \(({said})\)$"):
        read_annotations(path)


@pytest.mark.parametrize(
    ("written", "shown"), [(b"[1]", r"\[1\]"), (b'"a"', "'a'"), (b"null", "None"), (b"NaN", "nan")]
)
def test_what_is_no_object_is_refused(tmp_path, written, shown):
    path = tmp_path / "instances.json"
    path.write_bytes(written)
    with pytest.raises(
        UserError, match=rf"^{path} is no annotation file of COCO's format: it holds no object, but {shown}$"
    ):
        read_annotations(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_understood(tmp_path, encoding):
    path = tmp_path / "instances.json"
    path.write_text(TEXT.replace('"cat"', '"caté"'), encoding=encoding)
    assert [category.name for category in read_annotations(path).categories] == ["caté", "dog"]


def test_a_file_too_large_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "instances.json"
    path.touch()
    os.truncate(path, annotations.MAX_BYTES + 1)
    with pytest.raises(UserError, match=rf"^{path} has more than 4 GB, which are not read; part the data set$"):
        read_annotations(path)


def test_an_annotation_file_of_others_is_not_overwritten(tmp_path):
    section = write_set(tmp_path)
    path = Path(section.folder, "annotations", "instances_val.json")
    path.parent.mkdir(parents=True)
    path.write_text(TEXT)
    with pytest.raises(UserError) as raised:
        prepare(section, "small")
    assert str(raised.value) == (
        f"'detection.folder': {section.folder} holds files that `prepare` did not write, such as 'annotations'; "
        "name an empty or a new folder"
    )
    assert path.read_text() == TEXT and not (path.parent / "instances_train.json").exists()


def test_what_was_written_is_written_again(tmp_path):
    section = write_set(tmp_path)
    prepare(section, "small")
    before = {path: path.read_bytes() for path in Path(section.folder, "annotations").iterdir()}
    prepare(section, "small")
    assert {path: path.read_bytes() for path in Path(section.folder, "annotations").iterdir()} == before


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [(), ("images",), ("annotations",), ("categories",)]
    + [("images", 1), ("annotations", 2), ("categories", 0)]
    + [("images", 1, key) for key in ("id", "file_name", "width", "height")]
    + [("annotations", 2, key) for key in ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore")]
    + [("annotations", 2, "bbox", number) for number in range(4)]
    + [("categories", 0, key) for key in ("id", "name")]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=PLACES, value=VALUES)
def test_any_value_anywhere_is_right_or_one_line(tmp_path, place, value):
    root = tmp_path / "set"
    section = section_of(root) if root.exists() else write_set(root)
    coco = changed = copy.deepcopy(content("train")[0])
    for key in place[:-1]:
        changed = changed[key]
    if place:
        changed[place[-1]] = value
    path = source_file(root, "train")
    path.write_text(json.dumps(coco if place else value))
    try:
        prepare(section, "small")
    except UserError as error:
        assert str(error).startswith(str(path)) or "instances_val" in str(error)
        assert len(str(error).splitlines()) == 1 and str(error).isprintable()
    else:
        own = json.loads(Path(section.folder, "annotations", "instances_train.json").read_text())
        assert {type(side) for one in own["annotations"] for side in one["bbox"]} <= {int, float}
