import copy

import pytest
import yaml
from conftest import REPOSITORY, ROWS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paradise.study import preset as presets
from paradise.errors import UserError


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_projects_presets_are_valid(path):
    preset = presets.load(path)
    assert set(presets.rows(preset)) <= set(ROWS)


def test_digits_trains_every_row():
    preset = presets.load(REPOSITORY / "config" / "digits.yaml")
    assert presets.rows(preset) == ROWS


def keys(node, path=()):
    """Every key of nested mappings, as a path."""
    for key, value in node.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from keys(value, (*path, key))


DIGITS = yaml.safe_load((REPOSITORY / "config" / "digits.yaml").read_text())
CHECKED = [path for path in keys(DIGITS) if "overrides" not in path]


@given(path=st.sampled_from(CHECKED), suffix=st.sampled_from("xs_"))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_misspelt_key_is_named_with_the_right_one(path, suffix):
    preset = copy.deepcopy(DIGITS)
    parent = preset
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1] + suffix] = parent.pop(path[-1])
    wrong = ".".join((*path[:-1], path[-1] + suffix))
    with pytest.raises(UserError, match=rf"^p\.yaml: unknown key '{wrong}'; did you mean '{path[-1]}'\?$"):
        presets.check(preset, "p.yaml")


@given(path=st.sampled_from(CHECKED))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_value_of_the_wrong_type_is_named(path):
    preset = copy.deepcopy(DIGITS)
    parent = preset
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = None
    with pytest.raises(UserError, match=rf"^p\.yaml: '{'.'.join(path)}': "):
        presets.check(preset, "p.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": ["resnet19"]}, "unknown model 'resnet19'; did you mean 'resnet18'"),
        ({"rows": []}, "'rows': "),
        ({"seeds": [0, 0]}, "'seeds': .*non-unique"),
        ({"overrides": {"vgg*": {"epochs": 2}}}, r"overrides: 'vgg\*' matches no row"),
        ({"overrides": {"resnet18": {"epoch": 2}}}, "unknown key 'overrides.resnet18.epoch'; did you mean 'epochs'"),
    ],
)
def test_other_mistakes(change, message):
    with pytest.raises(UserError, match=message):
        presets.check(DIGITS | change, "p.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize": 40, "image_size": 48}, "'data.resize': 40 is smaller than 'data.image_size' \\(48\\)"),
        ({"augment": DIGITS["data"]["augment"] | {"aspect": [2, 1]}}, "'data.augment.aspect': the range \\[2, 1\\]"),
        ({"augment": DIGITS["data"]["augment"] | {"area": [1, 2]}}, "'data.augment.area.1': 2 is greater than"),
        ({"dataset": "imagenet", "hold_out": 5}, "'data.hold_out' is not for imagenet"),
    ],
)
def test_data_that_do_not_fit_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        presets.check(DIGITS | {"data": DIGITS["data"] | change}, "p.yaml")


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match=r"^p.yaml: the key 'latency' is missing$"):
        presets.check({key: value for key, value in DIGITS.items() if key != "latency"}, "p.yaml")


@pytest.mark.parametrize("text", ["rows: [", "a: b: c", "\x00"])
def test_what_is_not_yaml_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"^.*p\.yaml is not YAML: .*$") as caught:
        presets.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "just words", "[1, 2]"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path, value):
    path = tmp_path / "p.yaml"
    path.write_text(value)
    with pytest.raises(UserError, match="is not of type 'object'"):
        presets.load(path)


def test_a_missing_preset_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no preset at .*gone\.yaml"):
        presets.load(tmp_path / "gone.yaml")


def test_overrides_change_only_the_rows_that_match():
    preset = DIGITS | {"overrides": {"*resnet50": {"epochs": 9}, "pd_b_resnet50": {"learning_rate": 0.5}}}
    assert presets.recipe(preset, "resnet18") == DIGITS["training"]
    assert presets.recipe(preset, "se_resnet50") == DIGITS["training"] | {"epochs": 9}
    assert presets.recipe(preset, "pd_b_resnet50") == DIGITS["training"] | {"epochs": 9, "learning_rate": 0.5}


def test_imagenet_is_the_published_recipe():
    """The method, section 5: eight GPUs of 32 images, 100 epochs, no warm-up, half precision."""
    preset = presets.load(REPOSITORY / "config" / "imagenet.yaml")
    assert presets.rows(preset) == ROWS
    assert preset["training"] == {
        "epochs": 100, "batch_size": 8 * 32, "device_batch_size": 32, "learning_rate": 0.1, "momentum": 0.9,
        "weight_decay": 1e-4, "warmup_epochs": 0, "schedule": [30, 60, 90], "precision": "float16",
    }  # fmt: skip
    data = preset["data"]
    assert (data["image_size"], data["resize"]) == (224, 256)
    assert data["augment"] == {"area": [0.1, 1.0], "aspect": [0.8, 1.25], "shift": 0, "flip": True}
    assert data["expect"] == {"classes": 1000, "train": 1_281_167, "val": 50_000}


def test_precisions_and_loaders_are_named():
    for section, key, wrong, choices in (
        ("training", "precision", "half", "float16"),
        ("data", "loader", "x", "memory"),
    ):
        preset = copy.deepcopy(DIGITS)
        preset[section][key] = wrong
        with pytest.raises(UserError, match=rf"^p\.yaml: '{section}\.{key}': '{wrong}' is not one of .*'{choices}'"):
            presets.check(preset, "p.yaml")
