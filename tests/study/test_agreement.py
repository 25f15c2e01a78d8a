"""An edit that was sealed anew is told where a number follows from others; and no record ends in a traceback."""

import json
import lzma
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written import REPOSITORY, job_of, make_study, some_evidence

from paradise.errors import UserError
from paradise.study.evidence.section import sections
from paradise.study.figures import study_figures
from paradise.study.preset import Preset
from paradise.study.records import View, seal
from paradise.study.registry import TABLES
from paradise.study.report import _marks, _profiles, _runs
from paradise.study.report.missing import list_missing, list_refused
from paradise.study.report.runs import describe_runs
from paradise.study.results import Study
from paradise.study.stale import Survey
from paradise.study.steps import Job
from paradise.study.tables import render
from paradise.study.terminal.summary import describe

ROWS = ["resnet18", "pd_a_resnet18", "pd_b_resnet18", "resnet50"]
RUN = {"row": "resnet18", "run": "seed0"}
TRAINING = {"row": "resnet18", "seed": "0"}
DETECTOR = {"detector": "retinanet-resnet50", "seed": "0"}


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Iterator[Preset]:
    """A small study with all that there can be."""
    detection = yaml.safe_load((REPOSITORY / "config" / "digits.yaml").read_text())["detection"]
    detection["rows"] = [DETECTOR["detector"]]
    del detection["overrides"]
    checkpoints = {"pd_b_resnet18": "theirs.pth.tar"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("study"))
        yield make_study(ROWS, evidence=some_evidence(), detection=detection, checkpoints=checkpoints)


def edit(job: Job, path: tuple, value: Any) -> str:
    """Gives a record another value, sealed anew; returns what stood there."""
    text = job.record.read_text()
    values = json.loads(text)
    parent = values
    for key in path[:-1]:
        parent = parent[key]
    if value is DELETED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    values["seal"] = "0" * 64
    with suppress(ValueError):  # a number that is none
        values["seal"] = seal(values)
    job.record.write_text(json.dumps(values))
    return text


DELETED = object()
HITS = ("trained", "fused")
DERIVED = [
    ("prepare", {}, ("val",), 359),
    ("prepare", {}, ("classes",), 11),
    ("train", TRAINING, ("best",), {"epoch": 2, "val_top1": 80.0, "val_top5": 100.0}),
    ("train", TRAINING, ("best",), {"epoch": 3, "val_top1": 90.0, "val_top5": 100.0}),
    ("train", TRAINING, ("best", "val_top1"), 80.1),
    ("train", TRAINING, ("best", "val_top5"), 50.0),
    ("train", TRAINING, ("batch", "images"), 31),
    ("train", TRAINING, ("batch",), {"size": 64, "processes": 2, "passes": 1, "images": 32}),
    ("train", TRAINING, ("images", "val"), 720),
    ("train", TRAINING, ("num_classes",), 11),
    ("train", TRAINING, ("precision",), "bfloat16"),
    ("train", TRAINING, ("start",), "random"),
    ("train", TRAINING, ("of", "seed"), "1"),
    ("import_checkpoint", {"row": "pd_b_resnet18"}, ("num_classes",), 11),
    ("import_checkpoint", {"row": "pd_b_resnet18"}, ("checkpoint", "sha256"), "0" * 64),
    ("evaluate", RUN, ("images",), 720),
    *[("evaluate", RUN, (form, "top1"), 99.0) for form in HITS],
    *[("evaluate", RUN, (form,), {"top1_hits": 342, "top5_hits": 360, "top1": 95.0, "top5": 100.0}) for form in HITS],
    ("evaluate", RUN, ("fused", "top5_hits"), 300),
    ("evaluate", RUN, ("logits", "relative"), 0.5),
    ("evaluate", RUN, ("logits", "largest"), 0.0),
    ("train_detector", DETECTOR, ("iterations",), 241),
    ("train_detector", DETECTOR, ("backbone", "row"), "resnet18"),
    ("train_detector", DETECTOR, ("backbone", "seed"), None),
    ("evaluate_detector", DETECTOR, ("fused", "ap"), 5.0),
    ("evaluate_detector", DETECTOR, ("fused", "ap"), 99.0),
    ("evaluate_detector", DETECTOR, ("fused", "ap75"), 9.5),
    ("evaluate_detector", DETECTOR, ("trained", "ap50"), None),
    ("evaluate_detector", DETECTOR, ("heads", "difference"), 1.0),
    ("complexity", {}, ("rows", "resnet18", "macs"), 2**40),
    ("complexity", {}, ("rows", "resnet18"), DELETED),
    ("latency", {}, ("rows", "pd_b_resnet18", "times_ms"), [20.5]),
    ("latency", {}, ("rows", "pd_b_resnet18", "median_ms"), 20.04),
    ("latency", {}, ("rows", "resnet18"), DELETED),
    ("latency", {}, ("rows", "resnet18", "times_ms"), []),
    ("latency", {}, ("rows", "resnet18", "times_ms"), [0.0] * 100),
    ("latency", {}, ("machine", "threads"), 2),
    ("profile_detectors", {}, ("rows", "retinanet-resnet50", "fused", "times_ms"), [100.0]),
    ("profile_detectors", {}, ("image_size",), 1),
    ("profile_detectors", {}, ("rows",), {}),
    ("make_evidence", {"piece": "lottery"}, ("evidence", "curves", "rest", "1"), [50.0, 60.0, 70.0]),
]


@pytest.mark.parametrize(("step", "wildcards", "path", "value"), DERIVED)
def test_an_edit_that_was_sealed_anew_is_told(preset, step, wildcards, path, value):
    job = job_of(preset, step, **wildcards)
    assert Survey(preset).refused(job) == ()
    text = edit(job, path, value)
    try:
        (reason,) = Survey(preset).refused(job)
    finally:
        job.record.write_text(text)
    assert reason.kind in ("damaged", "outputs", "other")
    assert str(reason).isprintable()


@pytest.mark.parametrize("step", ["train", "evaluate", "train_detector", "evaluate_detector"])
def test_a_file_beside_a_record_that_was_edited_with_its_hash_is_told(preset, step):
    from paradise.study.hashes import sha256

    job = job_of(preset, step, **{"train": TRAINING, "evaluate": RUN}.get(step, DETECTOR))
    for path in job.outputs[:-1]:
        if path.name in job.step.weights:
            continue
        whole = path.read_bytes()
        packed = path.suffix == ".xz"
        content = (lzma.decompress(whole) if packed else whole).decode()
        texts = ("", "\0", content[: len(content) // 2], content.replace("1", "2"), "[" * 20_000, "{}", '"x')
        written = [text.encode() for text in texts]
        if packed:  # damaged before and after it was packed
            written += [*map(lzma.compress, written), whole[: len(whole) // 2], whole[:-1], b"x" + whole]
        for damaged in written:
            path.write_bytes(damaged)
            text = edit(job, ("outputs", path.name), sha256(path))
            (reason,) = Survey(preset).refused(job)
            assert reason.kind == "outputs" and str(reason).startswith(f"{path}"), damaged[:20]
            job.record.write_text(text)
            path.write_bytes(whole)
    assert not Survey(preset).refused(job)


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    for key, of in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from leaves(of, (*path, key))


VALUES = st.one_of(
    st.sampled_from([DELETED, None, True, [], {}, "", "x" * 5000, "a|b\n<script>`$", 10**400, float("nan"), 1e400]),
    st.sampled_from([-1, 0, 1, 2**63, 0.5, 1e308, -1e308, 5e-324, 99.9]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.floats(0, 100), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(0, 3), max_size=2),
)


def show(preset: Preset) -> None:
    """All that shows a study: status, tables, claims and the report's parts."""
    lines = describe(Survey(preset))
    assert all(line.isprintable() for line in lines)
    study = Study(preset, strict=False)
    for name in TABLES.names():
        render(name, study)
    study_figures(study)
    evidence = sections(study)
    describe_runs(_runs(study))
    _profiles(study), _marks(study, evidence), list_missing(study)
    for damaged in (True, False):
        assert all(reason.isprintable() for reason, _ in list_refused(study, damaged))
    try:
        Study(preset)
    except UserError as error:
        assert str(error).isprintable()


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_record_says_is_shown_or_said_in_a_line(preset, data):
    jobs = [job for job in Survey(preset).jobs.values() if not issubclass(job.step.schema, View)]
    steps = sorted({job.step.name for job in jobs})
    step = data.draw(st.sampled_from(steps))
    job = data.draw(st.sampled_from([job for job in jobs if job.step.name == step]))
    path = data.draw(
        st.sampled_from([path for path in leaves(json.loads(job.record.read_text())) if path != ("seal",)])
    )
    if data.draw(st.booleans()) and isinstance(path[-1], str):
        path = (*path[:-1], data.draw(st.text(max_size=5)))  # a key that is added
        value = data.draw(VALUES.filter(lambda value: value is not DELETED))
    else:
        value = data.draw(VALUES)
    text = edit(job, path, value)
    try:
        show(preset)
    finally:
        job.record.write_text(text)
