"""Records are what their schemas say, key by key, and are read as written or not at all."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from written import make_study, some_evidence

from paradise.errors import UserError
from paradise.study import records
from paradise.study.records import Damaged, Machine, Measurement, Record, read_record, seal, write_record
from paradise.study.stale import Survey
from paradise.study.tables import write_tables

CHECKPOINTS = {"pd_b_resnet18": "theirs.pth.tar"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> list[tuple[Path, type[Record], dict]]:
    """A record of every schema: where it is, its schema, what it says."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        preset = make_study(evidence=some_evidence(), checkpoints=CHECKPOINTS)
        write_tables(["imagenet"], preset)
        by_schema = {}
        for job in Survey(preset).jobs.values():
            if job.record.exists():
                path = job.record.absolute()
                by_schema.setdefault(job.step.schema, (path, job.step.schema, json.loads(path.read_text())))
    return list(by_schema.values())


def all_schemas(base=Record) -> set[type[Record]]:
    below = {schema for sub in base.__subclasses__() for schema in all_schemas(sub)}
    return below or {base}


def test_every_schema_is_written_by_a_step(written):
    assert {schema for _, schema, _ in written} == all_schemas()


def keys(node, path=()):
    """Every key of nested mappings that a schema knows, as a path."""
    for key, value in node.items():
        yield (*path, key)
        if isinstance(value, dict) and key not in (
            "settings",
            "evidence",
            "code",
            "versions",
            "inputs",
            "outputs",
            "of",
        ):
            yield from keys(value, (*path, key))


def changed(values: dict, path: tuple, change) -> dict:
    """A copy of a record, sealed anew, with a change made to the mapping that holds the last key of `path`."""
    copied = json.loads(json.dumps(values))
    parent = copied
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return copied | {"seal": sealed(copied)}


def sealed(values: dict) -> str:
    """The seal, also of numbers that are none."""
    try:
        return seal(values)
    except ValueError:
        return "0" * 64


OPEN = {"rows", "splits", "images", "checkpoint", "backbone", "detections"}  # mappings whose keys are names


def test_each_key_is_needed_and_no_other_is_taken(written, tmp_path):
    path = tmp_path / "record.json"
    tried = 0
    for _, schema, values in written:
        for key in keys(values):
            named = len(key) > 1 and (key[-2] in OPEN or key[0] == "splits")
            for change in (lambda parent, name: parent.pop(name), lambda parent, name: parent.update({f"{name}_": 1})):
                if key == ("seal",) or key == ("start",) or named or key[:1] in (("checkpoint",), ("backbone",)):
                    continue
                path.write_text(json.dumps(changed(values, key, change)))
                try:
                    record = read_record(path, schema)
                except Damaged as damaged:
                    assert str(damaged).startswith(f"{path} is damaged (")
                    tried += 1
                else:
                    pytest.fail(f"{schema.__name__}, {key}: {record}")
    assert tried > 300


@pytest.mark.parametrize("value", [None, [], {"a": []}, "text", -1, 1e400, True], ids=repr)
def test_a_value_of_another_type_is_damage_or_the_same_record(written, tmp_path, value):
    """No value makes a record that is not what its schema says."""
    path = tmp_path / "record.json"
    for _, schema, values in written:
        for key in keys(values):
            other = changed(values, key, lambda parent, name: parent.update({name: value}))
            path.write_text(json.dumps(other))
            try:
                record = read_record(path, schema)
            except Damaged as damaged:
                assert "\n" not in str(damaged)
            else:
                schema.model_validate(record.model_dump())


@given(cut=st.integers(0, 400), junk=st.binary(max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_file_that_is_cut_or_overwritten_is_damaged(written, tmp_path, cut, junk):
    path = tmp_path / "record.json"
    source, schema, _ = written[0]
    content = source.read_bytes()
    path.write_bytes(content[:cut] + junk)
    with pytest.raises(Damaged):
        read_record(path, schema)


@pytest.mark.parametrize("text", ["", "null", "[]", "1", '"text"', "{", "[" * 100_000, '{"seal": NaN}'], ids=range(8))
def test_what_is_no_record_is_damaged(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(Damaged):
        read_record(path, records.View)


def said(path: Path, schema: type[Record]) -> str:
    with pytest.raises(Damaged) as damaged:
        read_record(path, schema)
    return str(damaged.value)


def test_damage_is_said_with_its_place(written, tmp_path):
    path = tmp_path / "record.json"
    _, schema, values = next(one for one in written if one[1] is records.Evaluated)
    for key, of, message in (
        (("trained", "top1"), "high", "trained.top1: Input should be a valid number"),
        (("trained", "top1"), 100.5, "trained.top1: Input should be less than or equal to 100"),
        (("trained", "top1"), -0.5, "trained.top1: Input should be greater than or equal to 0"),
        (("trained", "top1_hits"), -1, "trained.top1_hits: Input should be greater than or equal to 0"),
        (("images",), 0, "images: Input should be greater than or equal to 1"),
        (("images",), "360", "images: Input should be a valid integer"),
        (("logits", "largest"), float("inf"), "logits.largest: Input should be a finite number"),
        (("code",), None, "code: Input should be a valid dictionary"),
        (("inputs", "manifest.csv"), "0" * 63, "inputs.manifest.csv: String should match pattern '^[0-9a-f]{64}$'"),
    ):
        path.write_text(json.dumps(changed(values, key, lambda parent, name, of=of: parent.update({name: of}))))
        assert said(path, schema) == f"{path} is damaged ({message})"
    path.write_text("[]")
    assert said(path, schema) == f"{path} is damaged (it is no JSON object)"


CONTRADICTIONS = [
    ("Trained", ("of",), {"row": "resnet18", "seed": "0", "run": "seed0"}, "it is of row, seed, run"),
    ("Trained", ("of",), {"row": "resnet18"}, "it is of row"),
    ("Trained", ("of",), {}, "it is of nothing"),
    ("Trained", ("of", "seed"), "one", "it is of the seed one"),
    ("Evaluated", ("of", "run"), "seed", "it is of the run seed"),
    ("Evaluated", ("of", "run"), "imported2", "it is of the run imported2"),
    ("Trained", ("batch", "images"), 1, "batch: 1 images are no batch of 32"),
    ("Trained", ("start",), "random", "it starts from random and is of None"),
    ("Trained", ("best", "val_top1"), 80.1, "80.1 % is no share of 360 images"),
    ("Trained", ("best", "val_top5"), 80.1, "80.1 % is no share of 360 images"),
    ("Trained", ("best",), {"epoch": 1, "val_top1": 90.0, "val_top5": 80.0}, "more top-1 hits than top-5 hits"),
    (
        "Imported",
        ("checkpoint", "sha256"),
        "0000000000000000000000000000000000000000000000000000000000000000",
        "it was not made from theirs.pth.tar",
    ),
    ("Evaluated", ("logits", "relative"), 0.5, "logits: 1e-05 of 10.0 is not 0.5"),
    (
        "Evaluated",
        ("fused",),
        {"top1_hits": 360, "top5_hits": 342, "top1": 100.0, "top5": 95.0},
        "more top-1 hits than top-5 hits",
    ),
    (
        "Evaluated",
        ("trained",),
        {"top1_hits": 360, "top5_hits": 342, "top1": 100.0, "top5": 95.0},
        "more top-1 hits than top-5 hits",
    ),
    ("EvaluatedDetector", ("fused", "ap"), None, "fused: AP, AP50 and AP75 are of the same objects"),
    ("EvaluatedDetector", ("fused", "ap50"), None, "fused: AP, AP50 and AP75 are of the same objects"),
    (
        "EvaluatedDetector",
        ("fused",),
        {"ap": None, "ap50": None, "ap75": None, "ap_s": 1.0, "ap_m": None, "ap_l": None},
        "fused: there are objects of a size and none at all",
    ),
    (
        "EvaluatedDetector",
        ("fused",),
        {"ap": None, "ap50": None, "ap75": None, "ap_s": None, "ap_m": None, "ap_l": 1.0},
        "fused: there are objects of a size and none at all",
    ),
    ("EvaluatedDetector", ("trained", "ap"), 10.0, "trained: AP or AP75 is above AP50"),
    ("EvaluatedDetector", ("trained", "ap75"), 10.0, "trained: AP or AP75 is above AP50"),
    (
        "Complexity",
        ("rows", "resnet18", "macs"),
        1099511627776,
        "rows.resnet18: 1099511627776 multiply-accumulates are more than 1822176768 operations",
    ),
    (
        "Prepared",
        ("time",),
        "2026-01-02T03:04:05",
        "time: it is no time as records have it, such as 2026-01-02T03:04:05+00:00",
    ),
    (
        "Prepared",
        ("time",),
        "2026-01-02T03:04:05+01:00",
        "time: it is no time as records have it, such as 2026-01-02T03:04:05+00:00",
    ),
    ("Prepared", ("commit",), "0123", "commit: it is no commit"),
    ("Prepared", ("commit",), "00000000000000000000000000000000000000000", "commit: it is no commit"),
    ("Prepared", ("machine", "processor"), "a\nb", "machine.processor: it has characters that cannot be printed"),
    (
        "Latencies",
        ("rows", "resnet18", "times_ms"),
        [],
        "rows.resnet18.times_ms: List should have at least 1 item after validation, not 0",
    ),
]


@pytest.mark.parametrize(("schema", "key", "value", "message"), CONTRADICTIONS)
def test_what_contradicts_itself_is_said_in_words(written, tmp_path, schema, key, value, message):
    path = tmp_path / "record.json"
    _, of, values = next(one for one in written if one[1].__name__ == schema)
    path.write_text(json.dumps(changed(values, key, lambda parent, name: parent.update({name: value}))))
    assert said(path, of) == f"{path} is damaged ({message})"


@pytest.mark.parametrize(
    ("schema", "key", "value"),
    [
        ("Trained", ("best",), {"epoch": 1, "val_top1": 90.0, "val_top5": 90.0}),
        *[
            ("Evaluated", (form,), {"top1_hits": 342, "top5_hits": 342, "top1": 95.0, "top5": 95.0})
            for form in ("trained", "fused")
        ],
        *[("EvaluatedDetector", ("fused", key), 9.0) for key in ("ap", "ap75")],
        ("EvaluatedDetector", ("fused",), dict.fromkeys(("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l"))),
        ("Complexity", ("rows", "resnet18", "macs"), 1822176768),
    ],
)
def test_what_is_equal_does_not_contradict_itself(written, tmp_path, schema, key, value):
    path = tmp_path / "record.json"
    _, of, values = next(one for one in written if one[1].__name__ == schema)
    path.write_text(json.dumps(changed(values, key, lambda parent, name: parent.update({name: value}))))
    assert read_record(path, of) is not None


@pytest.mark.parametrize(
    ("times", "median", "quartiles"),
    [([7.0], 7.0, (7.0, 7.0)), ([2.0, 1.0], 1.5, (1.25, 1.75)), ([5.0, 1.0, 4.0, 2.0, 3.0], 3.0, (2.0, 4.0))],
)
def test_median_and_quartiles_are_those_of_numpy(times, median, quartiles):
    timing = records.Timing(times_ms=times)
    assert (timing.median_ms, timing.quartiles_ms) == (median, quartiles)
    assert quartiles == tuple(np.quantile(times, [0.25, 0.75]))


def test_a_commit_is_printed_by_its_first_ten_digits(written):
    _, schema, values = next(one for one in written if one[1] is records.Prepared)
    for commit, short in (
        ("0123456789abcdef" + "0" * 24, "0123456789"),
        ("0123456789abcdef" + "0" * 48 + "+changes", "0123456789+changes"),
        (None, "unknown"),
    ):
        assert schema.model_validate(values | {"commit": commit}).short_commit == short


def test_what_is_repeated_is_one_line_and_not_long():
    assert records.shortened("a\nb\x1bc") == "a b c"
    assert records.shortened("x" * 200) == "x" * 200
    assert records.shortened("x" * 201) == "x" * 200 + "…"


@pytest.mark.parametrize("form", ["trained", "fused"])
@pytest.mark.parametrize("share", ["top1", "top5"])
def test_hits_and_shares_agree_or_it_is_no_record(written, tmp_path, form, share):
    path = tmp_path / "record.json"
    _, schema, values = next(one for one in written if one[1] is records.Evaluated)
    hits = values[form][f"{share}_hits"]
    wrong = values[form][share] - 0.01
    path.write_text(json.dumps(changed(values, (form, share), lambda parent, name: parent.update({name: wrong}))))
    assert said(path, schema) == f"{path} is damaged ({hits} hits of 360 images are not {wrong} %)"


def test_a_run_is_of_its_row_or_its_detector_and_evidence_of_its_piece(written):
    read = {schema: read_record(path, schema) for path, schema, _ in written}
    assert read[records.Trained].row == read[records.Trained].of["row"]
    assert read[records.TrainedDetector].row == read[records.TrainedDetector].of["detector"]
    assert read[records.EvidenceRecord].piece == read[records.EvidenceRecord].of["piece"]


def test_what_is_not_there_is_no_record(tmp_path):
    assert read_record(tmp_path / "gone.json", records.View) is None
    (tmp_path / "file").write_text("")
    assert read_record(tmp_path / "file" / "record.json", records.View) is None


def view() -> dict:
    return {"step": "table", "preset": "digits", "of": {}, "settings": {}, "inputs": {}, "outputs": {}, "code": {}}


def test_a_record_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "deep" / "record.json"
    write_record(path, records.View, view())
    record = read_record(path, records.View)
    assert record is not None
    assert record.model_dump() == view() | {"seal": seal(view())}
    assert json.loads(path.read_text())["seal"] == record.seal
    assert path.read_text() == json.dumps(json.loads(path.read_text()), indent=2) + "\n"


def test_what_was_read_stays_as_it_is(tmp_path):
    write_record(tmp_path / "record.json", records.View, view())
    record = read_record(tmp_path / "record.json", records.View)
    with pytest.raises(ValidationError, match="Instance is frozen"):
        record.preset = "mine"


def test_an_edit_shows_whatever_its_layout(tmp_path):
    path = tmp_path / "record.json"
    write_record(path, records.View, view())
    values = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(values.items()))))
    assert read_record(path, records.View) is not None
    path.write_text(json.dumps(values | {"preset": "other"}))
    with pytest.raises(Damaged, match=r"record\.json is damaged \(edited by hand\)$"):
        read_record(path, records.View)


def test_a_record_that_is_none_is_not_written(tmp_path):
    path = tmp_path / "record.json"
    with pytest.raises(ValidationError):
        write_record(path, records.View, view() | {"more": 1})
    with pytest.raises((ValidationError, ValueError)):
        write_record(path, records.View, view() | {"settings": {"rate": math.nan}})
    assert not path.exists()


def test_of_a_number_that_is_none_there_is_no_seal():
    with pytest.raises(ValueError):
        seal(view() | {"settings": {"rate": math.nan}})


def test_damage_is_a_users_error():
    assert issubclass(Damaged, UserError)


def measured(**changes) -> Measurement:
    machine = dict(
        system="Linux", processor="Example CPU", cores=2, threads=1, instructions="AVX2", device="cpu", gpu=None
    )
    values = view() | {
        "time": "2026-01-02T03:04:05+00:00",
        "commit": "0123456789" * 4,
        "versions": {},
        "machine": machine,
    }
    return Measurement.model_validate(values | {"seal": "0" * 64} | changes)


def test_a_commit_is_printed_short():
    assert measured().short_commit == "0123456789"
    assert measured(commit="0123456789" * 4 + "+changes").short_commit == "0123456789+changes"
    assert measured(commit=None).short_commit == "unknown"


def test_a_machine_is_printed_by_what_computed():
    machine = measured().machine
    assert str(machine) == "Example CPU (AVX2)"
    assert str(Machine.model_validate(machine.model_dump() | {"gpu": "Example GPU"})) == "Example GPU (AVX2)"
