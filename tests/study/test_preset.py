import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from conftest import PAPER, REPOSITORY, ROWS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from paradise.errors import UserError
from paradise.study.plain_yaml import read_yaml
from paradise.study.preset import Preset, schema
from paradise.study.rows import DetectorRow, Row, Run
from paradise.study.session import claim_results
from paradise.study.steps import all_steps

P = Path("config/p.yaml")


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def load(name: str) -> Preset:
    return Preset.load(REPOSITORY / "config" / f"{name}.yaml")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_projects_presets_are_valid(path):
    preset = Preset.load(path)
    assert {row.id for row in preset.classifiers if not row.longer} <= set(ROWS)
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
    """The preset is refused with exactly this message, or with what stands before its @."""
    with pytest.raises(UserError) as error:
        Preset.of(values, P)
    said, (begin, ellipsis, _) = str(error.value), message.partition("@")
    assert said.startswith(f"{P}: {begin}") if ellipsis else said == f"{P}: {message}"


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
        ("rows", ["a\nb"], r"'rows.0': 'a\nb': string should match pattern '^[!-~]+$'"),
        ("rows", ["a;b"], "unknown model 'a;b'; choose from @"),
        ("rows", ["~"], "unknown model '~'; choose from @"),
        ("rows", ["resnet18", "resnet18"], "'rows': ['resnet18', 'resnet18'] has non-unique elements"),
        ("rows", [], "'rows': []: list should have at least 1 item after validation, not 0"),
        ("rows", "some", "'rows': 'some': it should be 'all' or a valid list"),
        ("rows", 5, "'rows': 5: it should be 'all' or a valid list"),
        ("rows", [5], "'rows.0': 5: it should be a valid string"),
        ("seeds", [0, 0], "'seeds': [0, 0] has non-unique elements"),
        ("seeds", [2**32], "'seeds.0': 4294967296: it should be less than 2147483648"),
        ("seeds", [1e308], "'seeds.0': 1e+308: it should be a valid integer"),
        ("seeds", [0, -1], "'seeds.1': -1: it should be greater than or equal to 0"),
        ("seeds", list(range(99)) * 2, f"'seeds': {str(list(range(99)))[:60]}… has non-unique elements"),
        ("training.schedule", "linear", "'training.schedule': 'linear': it should be 'cosine' or a valid list"),
        ("training.schedule", [30, 0], "'training.schedule.1': 0: it should be greater than or equal to 1"),
        ("training.weight_decay", "1e-4", "'training.weight_decay': '1e-4': it should be a valid number"),
        ("training.epochs", True, "'training.epochs': True: it should be a valid integer"),
        ("training.epochs", LONG, f"'training.epochs': '{CUT}: it should be a valid integer"),
        ("training.learning_rate", float("nan"), "'training.learning_rate': nan: it should be a finite number"),
        ("training.learning_rate", float("inf"), "'training.learning_rate': inf: it should be a finite number"),
        ("training.weight_decay", float("nan"), "'training.weight_decay': nan: it should be a finite number"),
        ("training.momentum", float("nan"), "'training.momentum': nan: it should be a finite number"),
        ("data.mean", [float("nan"), 0.3, 0.3], "'data.mean.0': nan: it should be a finite number"),
        (
            *("data.mean", [76.5, 76.5, 76.5]),
            "'data.mean': [76.5, 76.5, 76.5]: pixels are from 0 to 1 here, so each must be from 0 to 1",
        ),
        (
            *("data.std", [94.35, 0.3, 0.3]),
            "'data.std': [94.35, 0.3, 0.3]: pixels are from 0 to 1 here, so each must be from 0.001 to 1",
        ),
        (
            *("data.std", [0.3, 0.3, 0]),
            "'data.std': [0.3, 0.3, 0.0]: pixels are from 0 to 1 here, so each must be from 0.001 to 1",
        ),
        (
            *("detection.recipe.std", [0.229, 0.224, 0.225]),
            "'detection.recipe.std': [0.229, 0.224, 0.225]: pixels are from 0 to 255 here, so each must be "
            "from 1 to 255",
        ),
        ("data.augment.shift", 32, "'data.augment.shift': 32 moves all 32 pixels out of sight"),
        ("data.folder", "~/x", "'data.folder': '~/x' begins with '~', which nothing replaces; write the folder out"),
        ("data.source", "a\x00b", r"'data.source': 'a\x00b' has characters that cannot be printed"),
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


def load_text(folder: Path, text: str | bytes) -> Preset:
    path = folder / "p.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Preset.load(path)


def refused_text(folder: Path, text: str | bytes, message: str) -> None:
    """The file is refused with exactly this message behind its path."""
    with pytest.raises(UserError) as error:
        load_text(folder, text)
    assert str(error.value) == f"{folder / 'p.yaml'} {message}"


GROWING = "a: &a [x, x]\nb: &b [*a, *a]\n" + "".join(f"c{n}: &c{n} [*b, *b, *b]\n" for n in range(30))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: [", "is not YAML: line 1: expected the node content, but found '<stream end>'"),
        ("a: b: c", "is not YAML: line 1: mapping values are not allowed here"),
        ("a:\n\tb: 1", "is not YAML: line 2: found character '\\t' that cannot start any token"),
        ("a: 1\n---\na: 2", "is not YAML: line 2: but found another document"),
        (GROWING, "is not YAML: line 1: a preset has no anchors and aliases ('a'); write the value out"),
        ("a: *a", "is not YAML: line 1: a preset has no anchors and aliases ('a'); write the value out"),
        ("a: &a [*a]", "is not YAML: line 1: a preset has no anchors and aliases ('a'); write the value out"),
        ("a: !!int x", "is not YAML: line 1: a preset has no tags ('tag:yaml.org,2002:int'); leave it out"),
        ("a: !x 1", "is not YAML: line 1: a preset has no tags ('!x'); leave it out"),
        ("? [a]\n: 1", "is not YAML: line 1: a key is a word"),
        ("{a: 1, b: 1, a: 2}", "is not YAML: line 1: the key 'a' stands there a second time; leave one of the two"),
        ("a:\n  b: 1\n  b: 1", "is not YAML: line 3: the key 'b' stands there a second time; leave one of the two"),
        ("[" * 1000, "is not YAML: line 1: more than 20 sections lie in one another"),
        ("a: " + "9" * 5000, f"is not YAML: line 1: the number {'9' * 60}… has 5000 digits"),
        ("\ufeffa: 1".encode("utf-16"), "is not text in UTF-8; save it in that encoding"),
        (b"a: \xff", "is not text in UTF-8; save it in that encoding"),
        ("a" * 100_001, "has 100,001 bytes and is no preset: these have 100,000 at most"),
    ],
    ids=lambda value: str(value)[:20].encode("unicode_escape").decode(),
)
def test_what_is_no_plain_yaml_is_refused_with_its_line(tmp_path, text, message):
    refused_text(tmp_path, text, message)


@pytest.mark.parametrize("text", ["\x00", "\x7f", "%YAML", "a: 'x", 'a: "\\ud800"', "@", "a: |\n  x\n y"])
def test_what_is_not_yaml_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(UserError, match=r"p\.yaml(:| is not YAML:) .*$") as caught:
        load_text(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "p.yaml").mkdir()
    with pytest.raises(UserError) as error:
        Preset.load(tmp_path / "p.yaml")
    assert str(error.value) == f"{tmp_path}/p.yaml is no file; a preset is one, such as config/digits.yaml"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1e-4", 1e-4), ("1E-4", 1e-4), ("+.5", 0.5), ("1.", 1.0), ("012", 12), ("off", "off"), ("yes", "yes")],
        *[("0x10", "0x10"), ("1_000", "1_000"), ("1:30", "1:30"), ("2020-01-01", "2020-01-01"), ("True", True)],
        *[(".inf", float("inf")), ("-.INF", float("-inf")), ("'1'", "1"), ("~", None), ("", None)],
    ],
)
def test_plain_values_are_those_of_yaml_1_2(tmp_path, text, value):
    (tmp_path / "p.yaml").write_text(f"a: {text}\n")
    found = read_yaml(tmp_path / "p.yaml")
    assert found == {"a": value} and type(found["a"]) is type(value)


@pytest.mark.parametrize("name", ["my preset", "~", "a;b", "$(x)", "-x", ".x", "..", "a\nb", "ü", "x" * 61, "a{b}", ""])
def test_a_file_that_names_no_study_is_refused(tmp_path, name):
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(DIGITS))
    with pytest.raises(UserError, match=r"rename the file$") as error:
        Preset.load(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_results_are_of_one_preset_wherever_it_lies(tmp_path, monkeypatch):
    """Until that is gone, as where it was moved."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "paper").symlink_to(PAPER)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(yaml.safe_dump(DIGITS))
    claim_results(Preset.load(Path("a/mine.yaml")))
    assert Preset.load(Path("a/mine.yaml")).name == Preset.load(tmp_path / "a" / "mine.yaml").name == "mine"
    with pytest.raises(UserError) as error:
        Preset.load(Path("b/mine.yaml"))
    assert str(error.value) == (
        "b/mine.yaml has the name of a/mine.yaml, and so its results, results/mine; rename one of them"
    )
    (tmp_path / "a" / "mine.yaml").unlink()
    assert Preset.load(Path("b/mine.yaml")).name == "mine"


def test_presets_of_one_name_do_not_share_results(tmp_path):
    """Also with another ending: the results of digits.yml would be those of digits.yaml."""
    (tmp_path / "digits.yaml").write_text(yaml.safe_dump(DIGITS))
    with pytest.raises(UserError) as error:
        Preset.load(tmp_path / "digits.yaml")
    assert str(error.value) == (
        f"{tmp_path}/digits.yaml has the name of config/digits.yaml, and so its results, results/digits; "
        "rename one of them"
    )
    (tmp_path / "x.yml").write_text(yaml.safe_dump(DIGITS))
    with pytest.raises(UserError, match=r"rename the file$"):
        Preset.load(tmp_path / "x.yml")


PRESETS = {path.stem: yaml.safe_load(path.read_text()) for path in (REPOSITORY / "config").glob("*.yaml")}
LEAVES = [(name, path) for name, values in sorted(PRESETS.items()) for path in keys(values)]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**30, 1e308, -1e308, 1e-308, float("nan"), float("inf"), "x" * 5000, "~"]),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers() | st.text(max_size=5) | st.floats(), max_size=4),
    st.dictionaries(st.text(max_size=5) | st.integers(), st.integers(), max_size=2),
)


@given(leaf=st.sampled_from(LEAVES), value=ODD)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_is_a_preset_or_one_line(tmp_path, leaf, value):
    name, path = leaf
    values = copy.deepcopy(PRESETS[name])
    parent = values
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    try:
        preset = Preset.of(values, P)
    except UserError as error:
        assert str(error).isprintable() and len(str(error)) < 800, str(error)
    else:
        assert preset.runs and Preset.of(preset.values(), P).values() == preset.values()


@given(text=st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,?~.0e \n\t\r\x00\x85\u2028", max_size=40) | st.binary(max_size=20))
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(UserError) as error:
        load_text(tmp_path, text)
    assert str(error.value).isprintable() and len(str(error.value)) < 800, str(error.value)


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


def test_some_rows_have_other_seeds():
    values = DIGITS | {"seeds": [0, 1, 2], "row_seeds": {"pd_b_*": [3], "pd_b_resnet50": [4, 5]}}
    preset = Preset.of(values, P)
    of = {name: preset.seeds_of(Row.parse(name)) for name in ("resnet18", "pd_b_resnet18", "pd_b_resnet50")}
    assert of == {"resnet18": [0, 1, 2], "pd_b_resnet18": [3], "pd_b_resnet50": [4, 5]}
    assert [run.seed for run in preset.runs if run.row.id == "pd_b_resnet50"] == [4, 5]
    # A detector starts from its backbone of the same seed.
    assert [run.seed for run in preset.detector_runs if str(run.row) == "retinanet-pd_b_resnet50-inside"] == [4, 5]
    jobs = [job.wildcards for job in all_steps()["train"].of(preset)]
    assert [job["seed"] for job in jobs if job["row"] == "pd_b_resnet18"] == ["3"]
    assert len(jobs) == sum(run.seed is not None for run in preset.runs)


def test_seeds_of_rows_that_there_are_none_of_are_refused():
    refused(DIGITS | {"row_seeds": {"vgg*": [0]}}, "row_seeds: 'vgg*' matches no row; choose from resnet18, @")
    refused(
        DIGITS | {"row_seeds": {"*": []}}, "'row_seeds.*': []: list should have at least 1 item after validation, not 0"
    )


def test_a_row_that_is_trained_longer_needs_more_epochs():
    values = {key: of for key, of in DIGITS.items() if key not in ("overrides", "detection")}
    values["rows"] = ["resnet18", "resnet18-longer"]
    message = "rows: 'resnet18-longer' is trained no longer than 'resnet18'; give it more epochs in 'overrides'"
    refused(values, message)
    refused(values | {"overrides": {"resnet18-longer": {"epochs": 3}}}, message)
    preset = Preset.of(values | {"overrides": {"resnet18-longer": {"epochs": 8}}}, P)
    assert [preset.recipe(row).epochs for row in preset.classifiers] == [3, 8]
    assert [row.id for row in preset.models] == ["resnet18"]


def test_overrides_of_detectors_change_only_the_rows_that_match():
    preset = load("digits")
    common = preset.detection.recipe.values()
    assert preset.detection_of(DetectorRow.parse("retinanet-resnet50")).recipe.values() == common
    changed = preset.detection_of(DetectorRow.parse("cascade_rcnn-resnet50")).recipe.values()
    assert changed == common | {"iterations": 60, "warmup_iterations": 6, "batch_size": 4, "anchor_scale": 4}


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
