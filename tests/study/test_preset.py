import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, ROWS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from paradise.errors import UserError
from paradise.study.preset import Preset, schema
from paradise.study.rows import DetectorRow, Row, Run

P = Path("config/p.yaml")


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def load(name: str) -> Preset:
    return Preset.load(REPOSITORY / "config" / f"{name}.yaml")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_projects_presets_are_valid(path):
    preset = Preset.load(path)
    assert {row.id for row in preset.classifiers} <= set(ROWS)
    assert (preset.path, preset.name, preset.results) == (path, path.stem, Path("results", path.stem))


def test_digits_trains_every_row():
    preset = load("digits")
    assert [row.id for row in preset.classifiers] == ROWS
    assert [row.id for row in preset.models] == ROWS[:12]
    assert preset.runs == [Run(row, 0) for row in preset.classifiers]
    assert len(preset.detectors) == 8 and preset.detector_runs == [Run(row, 0) for row in preset.detectors]
    assert preset.evidence_seeds == [0, 1, 2]


def keys(node, path=()):
    """Every key of nested mappings, as a path."""
    for key, value in node.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from keys(value, (*path, key))


DIGITS = yaml.safe_load((REPOSITORY / "config" / "digits.yaml").read_text())
CHECKED = [path for path in keys(DIGITS) if "overrides" not in path]


def with_value(path: tuple[str, ...], value) -> dict:
    """The digits preset with `value` at the key `path`."""
    values = copy.deepcopy(DIGITS)
    parent = values
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return values


def refused(values, message: str) -> None:
    """The preset is refused with exactly this message."""
    with pytest.raises(UserError) as error:
        Preset.of(values, P)
    assert str(error.value) == f"{P}: {message}"


@given(path=st.sampled_from(CHECKED), suffix=st.sampled_from("xs_"))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_misspelt_key_is_named_with_the_right_one(path, suffix):
    values = copy.deepcopy(DIGITS)
    parent = values
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1] + suffix] = parent.pop(path[-1])
    refused(values, f"unknown key '{'.'.join(path)}{suffix}'; did you mean '{path[-1]}'?")


@given(path=st.sampled_from(CHECKED))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_value_that_is_none_is_named(path):
    """`key:` and `key: ~` are mistakes also where the key may be left out."""
    name = ".".join(path)
    refused(with_value(path, None), f"'{name}': it has no value; give it one, or leave the key out")


@given(path=st.sampled_from(CHECKED), value=st.sampled_from([b"bytes", {1.5}, object]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_value_of_the_wrong_type_is_named(path, value):
    with pytest.raises(UserError, match=rf"^config/p\.yaml: '{re.escape('.'.join(path))}': [^\n]+$"):
        Preset.of(with_value(path, value), P)


LONG = "x" * 200
CUT = "x" * 59 + "…"  # of its repr, behind a quotation mark


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("rows", ["resnet19"], "unknown model 'resnet19'; did you mean 'resnet18'?"),
        ("rows", ["resnet18", LONG], f"'rows.1': '{CUT}: string should have at most 60 characters"),
        ("rows", ["a\nb"], r"'rows.0': 'a\nb': string should match pattern '^\S+$'"),
        ("rows", ["resnet18", "resnet18"], "'rows': ['resnet18', 'resnet18'] has non-unique elements"),
        ("rows", [], "'rows': []: list should have at least 1 item after validation, not 0"),
        ("rows", "some", "'rows': 'some': it should be 'all' or a valid list"),
        ("rows", 5, "'rows': 5: it should be 'all' or a valid list"),
        ("rows", [5], "'rows.0': 5: it should be a valid string"),
        ("seeds", [0, 0], "'seeds': [0, 0] has non-unique elements"),
        ("seeds", [0, -1], "'seeds.1': -1: it should be greater than or equal to 0"),
        ("seeds", list(range(99)) * 2, f"'seeds': {str(list(range(99)))[:60]}… has non-unique elements"),
        ("training.schedule", "linear", "'training.schedule': 'linear': it should be 'cosine' or a valid list"),
        ("training.schedule", [30, 0], "'training.schedule.1': 0: it should be greater than or equal to 1"),
        ("training.weight_decay", "1e-4", "'training.weight_decay': '1e-4': it should be a valid number"),
        ("training.epochs", True, "'training.epochs': True: it should be a valid integer"),
        ("training.epochs", LONG, f"'training.epochs': '{CUT}: it should be a valid integer"),
        ("training.learning_rate", float("nan"), "'training.learning_rate': nan: it should be a finite number"),
        ("training.momentum", 1, "'training.momentum': 1: it should be less than 1"),
        ("training.compile", 1, "'training.compile': 1: it should be a valid boolean"),
        (
            *("training.precision", "half"),
            "'training.precision': 'half': it should be 'auto', 'float32', 'tf32', 'bfloat16' or 'float16'",
        ),
        ("data", [1], "'data': [1]: it should have keys"),
        ("data.loader", "x", "'data.loader': 'x' is not one of ['dali', 'memory']"),
        ("data.loader", LONG, f"'data.loader': '{CUT} is not one of ['dali', 'memory']"),
        ("data.dataset", "x", "'data.dataset': 'x' is not one of ['cifar-100', 'digits', 'fashion-mnist', 'imagenet']"),
        ("data.mean", [1, 2], "'data.mean': [1, 2]: list should have at least 3 items after validation, not 2"),
        ("data.image_size", 48, "'data.resize': 32 is smaller than 'data.image_size' (48)"),
        ("data.augment.aspect", [2, 1], "'data.augment.aspect': the range [2.0, 1.0] begins above its end"),
        ("data.augment.area", [1, 2], "'data.augment.area.1': 2: it should be less than or equal to 1"),
        ("data.expect", {"classes": 3}, "the key 'data.expect.train' is missing"),
        ("overrides", {"resnet18": {"epoch": 2}}, "unknown key 'overrides.resnet18.epoch'; did you mean 'epochs'?"),
        ("overrides", {"[sr]e*": {"epoch": 2}}, "unknown key 'overrides.[sr]e*.epoch'; did you mean 'epochs'?"),
        ("overrides", {"*": {"epochs": 0}}, "'overrides.*.epochs': 0: it should be greater than or equal to 1"),
        ("overrides", {"*": 3}, "'overrides.*': 3: it should have keys"),
        ("overrides", {5: {"epochs": 2}}, "'overrides.5': 5: it should be a valid string"),
        ("overrides", {"*": None}, "'overrides.*': it has no value; give it one, or leave the key out"),
        (
            *("overrides", {LONG: {"epochs": 2}}),
            f"'overrides.{LONG[:60]}…': '{CUT}: string should have at most 60 characters",
        ),
        (
            "overrides",
            {"pd_b_resnet5": {"epochs": 2}},
            "overrides: 'pd_b_resnet5' matches no row; did you mean 'pd_b_resnet50'?",
        ),
        (
            "checkpoints",
            {"resnet81": "x.pth"},
            "checkpoints: 'resnet81' is none of the preset's models; did you mean 'resnet18'?",
        ),
        (
            "detection.rows",
            ["retinanet-resnet18"],
            "detection.rows: unknown row 'retinanet-resnet18'; did you mean 'retinanet-resnet50'?",
        ),
        ("detection.rows", "some", "'detection.rows': 'some': it should be 'all' or a valid list"),
        ("detection.dataset", "voc", "'detection.dataset': 'voc' is not one of ['coco', 'digits']"),
        ("detection.overrides", {"retinanet*": {"rate": 1}}, None),
        ("training.x\ny", 3, None),
        (LONG, 3, None),
    ],
)
def test_mistakes_are_named_by_file_and_key(path, value, message):
    values = with_value(tuple(path.split(".")), value)
    if message is not None:
        refused(values, message)
        return
    with pytest.raises(UserError) as error:
        Preset.of(values, P)
    said = str(error.value)
    assert said.startswith(f"{P}: unknown key '") and "\n" not in said and LONG[:61] not in said


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(UserError, match=r"^config/p\.yaml: overrides: 'vgg\*' matches no row; choose from resnet18, "):
        Preset.of(with_value(("overrides",), {"vgg*": {"epochs": 2}}), P)
    refused(
        with_value(("detection", "overrides"), {"fcos-resnet50": {"rois": 2}}),
        "detection.overrides: 'fcos-resnet50' matches no row; did you mean 'cascade_rcnn-resnet50'?",
    )


def test_a_detector_needs_its_backbones_row():
    refused(
        DIGITS | {"rows": ["resnet18"], "overrides": {"resnet18": {"epochs": 1}}},
        "detection.rows: 'retinanet-resnet50' starts from 'resnet50', which is none of the rows",
    )


def test_changes_of_a_recipe_that_is_not_there_are_refused():
    values = copy.deepcopy(DIGITS)
    del values["detection"]["recipe"]
    refused(values, "the key 'detection.recipe' is missing, which 'detection.overrides' changes")


def test_a_missing_key_is_named():
    refused({key: value for key, value in DIGITS.items() if key != "latency"}, "the key 'latency' is missing")


@pytest.mark.parametrize("text", ["rows: [", "a: b: c", "\x00"])
def test_what_is_not_yaml_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"^.*p\.yaml is not YAML: .*$") as caught:
        Preset.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "just words", "[1, 2]"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path, value):
    path = tmp_path / "p.yaml"
    path.write_text(value)
    with pytest.raises(UserError) as error:
        Preset.load(path)
    assert str(error.value) == f"{path}: it has no keys, and a preset has, such as 'rows' and 'data'"


def test_a_missing_preset_is_named(tmp_path):
    with pytest.raises(UserError) as error:
        Preset.load(tmp_path / "gone.yaml")
    assert str(error.value) == f"no preset at {tmp_path}/gone.yaml"


def test_overrides_change_only_the_rows_that_match():
    overrides = {"*resnet50": {"epochs": 9}, "pd_b_resnet50": {"learning_rate": 0.5, "schedule": [3, 6]}}
    preset = Preset.of(DIGITS | {"overrides": overrides}, P)
    common = preset.training.values()
    assert common == DIGITS["training"]
    assert preset.recipe(Row.parse("resnet18")) == preset.training
    assert preset.recipe(Row.parse("se_resnet50")).values() == common | {"epochs": 9}
    changed = {"epochs": 9, "learning_rate": 0.5, "schedule": [3, 6]}
    assert preset.recipe(Row.parse("pd_b_resnet50")).values() == common | changed


def test_overrides_of_detectors_change_only_the_rows_that_match():
    preset = load("digits")
    common = preset.detection.recipe.values()
    assert preset.detection_of(DetectorRow.parse("retinanet-resnet50")).recipe.values() == common
    changed = preset.detection_of(DetectorRow.parse("cascade_rcnn-resnet50")).recipe.values()
    assert changed == common | {"iterations": 60, "warmup_iterations": 6, "batch_size": 4, "learning_rate": 3e-4}


def test_what_records_say_of_the_data():
    """Where they lie is no matter, nor to evaluation how training changes them; nor to preparing how they are seen."""
    expect, source = {"classes": 10, "train": 5, "val": 5}, "/elsewhere"
    data = Preset.of(
        with_value(("data",), DIGITS["data"] | {"expect": expect, "source": source, "per_class": 5}), P
    ).data
    everything = {**DIGITS["data"], "per_class": 5}
    del everything["folder"]
    assert data.seen() == everything
    assert data.evaluated() == {key: value for key, value in everything.items() if key != "augment"}
    assert data.prepared() == {"dataset": "digits", "expect": expect, "per_class": 5}


def test_checkpoints_of_others_are_runs_without_a_seed():
    values = {key: value for key, value in DIGITS.items() if key not in ("detection", "overrides")}
    preset = Preset.of(values | {"rows": ["resnet18"], "seeds": [3, 1], "checkpoints": {"resnet18": "x.pth"}}, P)
    row = Row.parse("resnet18")
    assert preset.runs == [Run(row, 3), Run(row, 1), Run(row, None)]
    assert (preset.detectors, preset.detector_runs) == ((), [])


def test_a_preset_cannot_be_changed():
    preset = load("digits")
    with pytest.raises(ValidationError):
        preset.training.epochs = 1
    with pytest.raises(ValidationError):
        preset.seeds = [1]


def test_imagenet_is_the_published_recipe():
    """The method, section 5: eight GPUs of 32 images, 100 epochs, no warm-up, half precision."""
    preset = load("imagenet")
    assert [row.id for row in preset.classifiers] == ROWS
    assert preset.training.values() == {
        **{"epochs": 100, "batch_size": 8 * 32, "device_batch_size": 32, "learning_rate": 0.1, "momentum": 0.9},
        **{"weight_decay": 1e-4, "warmup_epochs": 0, "schedule": [30, 60, 90], "precision": "float16"},
    }
    data = preset.data
    assert (data.image_size, data.resize) == (224, 256)
    assert data.augment.values() == {"area": [0.1, 1.0], "aspect": [0.8, 1.25], "shift": 0, "flip": True}
    assert data.expect.values() == {"classes": 1000, "train": 1_281_167, "val": 50_000}


def test_the_schema_says_what_each_key_means():
    """As editors read it: JSON, with the keys' meanings, and names where there is a choice of them."""
    described = json.loads(json.dumps(schema()))
    assert described["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert described["properties"]["seeds"]["description"].startswith("Every row is trained once with each;")
    assert described["additionalProperties"] is False
    assert described["$defs"]["Data"]["properties"]["loader"]["enum"] == ["dali", "memory"]
