"""What Snakemake is told: which jobs go by their inputs, and what they wait for."""

import re
import shutil
from pathlib import Path

import pytest
from written import job_of, make_preset, make_study, other_code

from paradise.study import schedule
from paradise.study.schedule import Schedule
from paradise.study.stale import Survey
from paradise.study.tables import write_tables

ROW = "pd_b_resnet18"
FOLDER = Path(f"results/digits/{ROW}/seed0")


@pytest.fixture
def preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = make_study(["resnet18", ROW], evidence={})
    write_tables(["imagenet", "ablation", "claims"], made)
    return made


def live(preset, **options) -> set[str]:
    """The jobs at work, but for those of evidence and report, which were never made here."""
    told = Schedule(Survey(preset), **options)
    jobs = told.survey.jobs.values()
    return {
        str(job)
        for job in jobs
        if told.is_live(job) and job.step.name not in ("make_evidence", "train_start", "report")
    }


RUN = {f"train {ROW} seed0", f"fuse {ROW} seed0", f"evaluate {ROW} seed0"}
TABLES = {"table imagenet", "table ablation", "table claims"}


def test_where_all_is_as_it_should_be_none_is_at_work(preset):
    assert live(preset) == set()


def test_code_alone_sets_nothing_to_work(preset):
    other_code(job_of(preset, "train", row=ROW, seed="0"), "paradise.block")
    assert live(preset) == TABLES  # which mark it


def test_what_must_not_be_shown_is_at_work_with_all_that_follows(preset):
    (FOLDER / "fused.safetensors").write_text("edited")
    assert live(preset) == RUN - {f"train {ROW} seed0"} | TABLES


def test_what_was_never_made_is_at_work_with_all_that_follows(preset):
    shutil.rmtree(FOLDER)
    assert live(preset) == RUN | TABLES


def test_data_that_are_not_here_may_not_be_needed(preset):
    shutil.rmtree("data/digits")
    assert live(preset) == set()


@pytest.mark.parametrize("forced", ["train", f"{FOLDER}/run.json", f"{FOLDER}/log.csv"])
def test_what_is_forced_is_at_work_with_all_that_follows(preset, forced):
    found = live(preset, forced=[forced])
    assert found == RUN | TABLES | ({name.replace(ROW, "resnet18") for name in RUN} if forced == "train" else set())


def test_a_forced_step_takes_along_what_lies_far_behind_it(preset):
    """The images are forced: the runs in between are at work too, so that Snakemake sees the tables behind them."""
    everything = {
        str(job)
        for job in Survey(preset).jobs.values()
        if job.step.name in ("train", "fuse", "evaluate", "table", "prepare")
    }
    assert live(preset, forced=["prepare"]) == everything


def test_all_can_be_forced(preset):
    assert {"prepare", "complexity", "latency"} < live(preset, everything=True)


def test_a_job_of_another_study_goes_by_its_inputs(preset):
    told = Schedule(Survey(preset))
    assert told.is_live(job_of(preset, "train", row="resnet50", seed="0"))


def test_what_must_not_be_shown_waits_for_a_file_that_says_why(preset):
    for name in ("weights.safetensors", "log.csv"):
        (FOLDER / name).write_text("edited")
    told = Schedule(Survey(preset))
    *files, mark = told.needs(job_of(preset, "train", row=ROW, seed="0"))
    assert files == ["data/digits/manifest.csv"]
    assert re.fullmatch(r"\.snakemake/stale/[0-9a-f]{16}\.txt", mark)
    *said, time = Path(mark).read_text().splitlines()
    assert said == [
        f"train {ROW} seed0",
        f"{FOLDER}/weights.safetensors changed since it was made",
        f"{FOLDER}/log.csv changed since it was made",
    ]
    assert time.isdecimal() and Path(mark).read_text().endswith(f"{time}\n")
    assert told.needs(job_of(preset, "train", row="resnet18", seed="0")) == ["data/digits/manifest.csv"]


def test_what_cannot_be_made_here_is_not_waited_for_unless_it_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset = make_preset()
    monkeypatch.setattr(schedule, "find_spec", lambda package: None)
    told = Schedule(Survey(preset))
    waited = told.needs(job_of(preset, "table", table="claims"))
    assert "results/digits/resnet18/seed0/evaluation.json" in waited
    assert not [file for file in waited if "detection" in file]
    tables = [file for file in told.needs(job_of(preset, "report")) if "tables/" in file]
    assert tables == [f"results/digits/tables/{name}.json" for name in ("ablation", "claims", "imagenet")]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert [
        file for file in Schedule(Survey(preset)).needs(job_of(preset, "table", table="claims")) if "detection" in file
    ]


def test_what_no_step_makes_and_is_not_there_is_waited_for(tmp_path, monkeypatch):
    """Snakemake says that it is missing."""
    monkeypatch.chdir(tmp_path)
    preset = make_preset(["resnet18"], checkpoints={"resnet18": "theirs.pth"})
    assert Schedule(Survey(preset)).made_from(job_of(preset, "import_checkpoint", row="resnet18")) == ["theirs.pth"]


def test_a_table_waits_for_what_can_be_made_or_is_there(tmp_path, monkeypatch):
    """A report does not wait for a detection table whose detectors are neither here nor can be made here."""
    monkeypatch.chdir(tmp_path)
    preset = make_study()
    monkeypatch.setattr(schedule, "find_spec", lambda package: None)
    report = job_of(preset, "report")
    place = "results/digits/tables/detection.json"
    assert place in Schedule(Survey(preset)).made_from(report)
    shutil.rmtree("results/digits/detection")
    assert place in Schedule(Survey(preset)).made_from(report)  # their profile is here
    Path("results/digits/profile/detection.json").unlink()
    assert place not in Schedule(Survey(preset)).made_from(report)
