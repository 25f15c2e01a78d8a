"""What a step's command takes from its options and what from the preset; how each ends is in `terminal/test_cli.py`."""

import inspect
import json
from pathlib import Path

import pytest
import torch
import yaml
from conftest import PAPER, preset_values

from paradise.errors import UserError
from paradise.study.records import PreparedDetection, read_record
from paradise.study.registry import EVIDENCE
from paradise.study.steps import (
    complexity,
    evaluate,
    evaluate_detector,
    latency,
    make_evidence,
    prepare,
    prepare_detection,
    profile_detectors,
    report,
    table,
    train,
    train_detector,
    train_start,
)
from paradise.study.terminal.commands import show

MINE = Path("mine.yaml")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with the published tables and a preset of one row, whose timings take four rounds on two threads."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/paper").symlink_to(PAPER)
    values = preset_values(Path("digits")) | {"latency": {"rounds": 4, "threads": 2}}
    MINE.write_text(yaml.safe_dump(values))
    yield tmp_path
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("models", "output", "rows", "place", "preset"),
    [
        (None, None, ["resnet18"], "results/mine/profile/complexity.json", "mine"),
        (None, "c.json", ["resnet18"], "c.json", "mine"),
        (["se_resnet18"], None, ["se_resnet18"], "results/mine/profile/complexity.json", "mine"),
        (["se_resnet18"], "c.json", ["se_resnet18"], "c.json", "other"),  # there is no such preset, nor need it be
    ],
)
def test_what_is_counted_and_where_it_is_written(project, models, output, rows, place, preset):
    complexity.command(models, Path(f"{preset}.yaml"), output and Path(output))
    record = json.loads(Path(place).read_text())
    assert (list(record["rows"]), record["settings"], record["preset"]) == (rows, {"models": rows}, preset)


@pytest.mark.parametrize(
    ("models", "output", "options", "rounds", "threads", "place"),
    [
        (None, None, {}, 4, 2, "results/mine/profile/latency.json"),
        (None, "l.json", {"rounds": 1, "threads": 1}, 1, 1, "l.json"),
        (["resnet18"], None, {"rounds": 3}, 3, 1, "results/mine/profile/latency.json"),
        (["resnet18"], "l.json", {"rounds": 1}, 1, 1, "l.json"),
    ],
)
def test_what_is_timed_how_and_where_it_is_written(project, models, output, options, rounds, threads, place):
    latency.command(models, MINE, output and Path(output), **options)
    record = json.loads(Path(place).read_text())
    assert record["settings"] == {"models": ["resnet18"], "rounds": rounds, "threads": threads}
    assert (record["preset"], record["machine"]["threads"]) == ("mine", threads)


def test_models_that_are_named_are_timed_a_hundred_times():
    """As the option's help says."""
    assert latency.NAMED == (100, 1)


@pytest.mark.parametrize(("which", "written"), [(None, ["ablation", "claims", "imagenet"]), (["claims"], ["claims"])])
def test_tables_are_all_or_those_that_are_named(project, which, written):
    table.command(which, MINE)
    assert sorted(path.stem for path in Path("results/mine/tables").glob("*.md")) == written


def test_prepare_says_what_there_is(project, capsys):
    prepare.command(MINE)
    assert capsys.readouterr() == ("", "digits: 80 train images, 80 val images\n")
    assert Path("digits/prepared.json").exists()


def test_preparing_detection_says_what_there_is(project, detectors, capsys):
    MINE.write_text(yaml.safe_dump(detectors.values()))
    prepare_detection.command(MINE)
    folder, lines = detectors.detection.folder, capsys.readouterr().err.splitlines()
    record = read_record(Path(folder, "detection.json"), PreparedDetection)
    assert record is not None and lines == [
        f"{folder}, {split}: {', '.join(f'{count} {what}' for what, count in counts.items())}"
        for split, counts in record.splits.items()
    ]
    assert lines[0].startswith(f"{folder}, train: 20 images, ")


def test_a_detector_is_trained_in_this_process(project, detectors):
    """And so by what is here: the data folder is not."""
    values = detectors.values()
    values["detection"]["folder"] = "nowhere"
    MINE.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match="nowhere"):
        train_detector.command("retinanet-resnet50", MINE)


STARTED = [prepare, train, train_detector, train_start, evaluate, evaluate_detector, make_evidence]


@pytest.mark.parametrize("step", STARTED)
def test_what_is_left_out_is_one_thread_and_the_first_seed(step):
    defaults = {name: option.default for name, option in inspect.signature(step.command).parameters.items()}
    assert defaults["threads"] == 1 and defaults.get("seed", 0) == 0
    assert defaults.get("gpus") is None


def test_a_report_is_written_and_its_place_said(project, capsys):
    report.command(MINE)
    assert Path("results/mine/report.html").exists()
    assert capsys.readouterr().err == "results/mine/report.html\n"


NO_SECTION = "mine.yaml has no section 'detection'; config/digits.yaml shows one"


@pytest.mark.parametrize(
    ("command", "arguments", "options", "message"),
    [
        (
            train.command,
            ("resnet18", MINE),
            {"gpus": 2, "processes": 3},
            "--gpus 2 and --processes 3: each process has one GPU, so leave one of them away",
        ),
        (
            train.command,
            ("resnet18", MINE),
            {"processes": 3},
            "batch_size 16 is no multiple of 3 processes × 5 images; change one of the three",
        ),
        (train_start.command, ("fusd", MINE), {}, "unknown start 'fusd'; did you mean 'fused'?"),
        (
            make_evidence.command,
            ("§", MINE),
            {},
            f"unknown piece of evidence '§'; choose from {', '.join(EVIDENCE.names())}",
        ),
        (table.command, (["claims", "imagnet"], MINE), {}, "unknown table 'imagnet'; did you mean 'imagenet'?"),
        (table.command, (["claims", "detection"], MINE), {}, NO_SECTION),
        (show.command, (["imagnet"], MINE), {}, "unknown table 'imagnet'; did you mean 'imagenet'?"),
        (show.command, (["detection"], MINE), {}, NO_SECTION),
        (prepare_detection.command, (MINE,), {}, NO_SECTION),
        (profile_detectors.command, (MINE,), {}, NO_SECTION),
        (train_detector.command, ("retinanet-resnet50", MINE), {}, NO_SECTION),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(project, command, arguments, options, message):
    before = sorted(project.rglob("*"))
    with pytest.raises(UserError) as refused:
        command(*arguments, **options)
    assert str(refused.value) == message
    assert sorted(project.rglob("*")) == before
