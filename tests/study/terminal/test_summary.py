"""What `paradise status` says of a study."""

import shutil
from pathlib import Path

import pytest
from written import change_record, job_of, make_preset, make_study, other_code

from paradise.study.preset import Preset
from paradise.study.stale import Survey
from paradise.study.tables import write_tables
from paradise.study.terminal.commands.status import command
from paradise.study.terminal.summary import describe, describe_stale, name_jobs

ROWS = ["resnet18", "pd_a_resnet18", "pd_b_resnet18", "se_resnet18"]
LOOP = "paradise.study.training.loop"


@pytest.fixture
def preset(tmp_path, monkeypatch):
    """Two seeds of four rows, with neither tables nor evidence."""
    monkeypatch.chdir(tmp_path)
    return make_study(ROWS, seeds=[0, 1])


def lines(preset) -> list[str]:
    return describe_stale(Survey(preset))


def test_what_is_there_and_what_is_not(preset):
    assert describe(Survey(preset)) == [
        "results/digits: 27 of 51 results are what config/digits.yaml makes today",
        "24 not here; `snakemake all evidence` makes them:",
        "  make_evidence, 5 pieces",
        "  report",
        "  table, tables ablation, claims, imagenet",
        "  train_start, 5 starts, seeds 0, 1, 2",
    ]
    write_tables(["imagenet"], preset)
    shutil.rmtree("results/digits/resnet18/seed1")
    assert describe(Survey(preset)) == [
        "results/digits: 24 of 51 results are what config/digits.yaml makes today",
        "26 not here; `snakemake all evidence` makes them:",
        "  evaluate resnet18 seed1",
        "  fuse resnet18 seed1",
        "  make_evidence, 5 pieces",
        "  report",
        "  table, tables ablation, claims",
        "  train resnet18 seed1",
        "  train_start, 5 starts, seeds 0, 1, 2",
        "1 to be computed again, by `snakemake`:",
        "  table imagenet: it does not show the results as they are",
    ]


def test_evidence_that_the_preset_does_not_ask_for_is_not_missed(preset):
    values = {key: value for key, value in preset.values().items() if key != "evidence"}
    assert describe(Survey(Preset.of(values, preset.path)))[:2] == [
        "results/digits: 27 of 31 results are what config/digits.yaml makes today",
        "4 not here; `snakemake` makes them:",
    ]


def test_a_study_that_is_all_right_takes_a_line(preset):
    survey = Survey(preset)
    survey.jobs = {path: job for path, job in survey.jobs.items() if not survey.missing(job)}
    assert describe(survey) == ["results/digits: 27 of 27 results are what config/digits.yaml makes today"]


def test_equal_reasons_of_many_runs_are_one_line(preset):
    for row in ROWS:
        for seed in "01":
            other_code(job_of(preset, "train", row=row, seed=seed), LOOP)
    assert lines(preset) == [
        "24 of other code or versions, kept and marked:",
        "  train, 4 rows, seeds 0, 1: other code in study.training.loop (commit 0123456789)",
        "to compute the marked ones again: `snakemake --forcerun $(paradise status --files)`",
    ]


def test_the_commits_of_what_is_marked(preset):
    for row, commit in zip(ROWS, ("a" * 40, "b" * 40 + "+changes", "c" * 40, None)):
        job = job_of(preset, "train", row=row, seed="0")
        other_code(job, LOOP)
        change_record(job, commit=commit)
    assert lines(preset)[1] == (
        "  train, 4 rows, seed 0: other code in study.training.loop"
        " (commits aaaaaaaaaa, bbbbbbbbbb+changes, cccccccccc and 1 more)"
    )


def test_what_must_not_be_shown_is_told_by_where_the_reason_lies(preset):
    assert lines(make_preset(ROWS, [0, 1], overrides={"pd_b_*": {"learning_rate": 0.004}})) == [
        "6 to be computed again, by `snakemake`:",
        "  train, row pd_b_resnet18, seeds 0, 1: learning_rate changed",
    ]


def test_a_reason_names_a_file_without_its_folder(preset):
    for row in ROWS[:2]:
        Path(f"results/digits/{row}/seed0/log.csv").write_text("by hand")
    Path("results/digits/resnet18/seed1/evaluation.json").write_text("{")
    assert lines(preset) == [
        "7 to be computed again, by `snakemake`:",
        "  train, rows resnet18, pd_a_resnet18, seed 0: log.csv changed since it was made",
        "  evaluate resnet18 seed1: evaluation.json is damaged (Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1))",
    ]


def test_evidence_is_made_by_its_own_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset = make_study(ROWS, evidence={"perceptrons": {"kinds": {}, "hidden": 1, "branches": 4, "images": 1}})
    Path("results/digits/evidence/perceptrons.json").write_text("{}")
    assert lines(preset)[0] == "1 to be computed again, by `snakemake all evidence`:"


def test_another_preset_is_named_in_every_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset = make_study(ROWS, name="my_study")
    other_code(job_of(preset, "train", row="resnet18", seed="0"), LOOP)
    shutil.rmtree("results/my_study/se_resnet18")
    found = describe(Survey(preset))
    assert "`snakemake all evidence --configfile config/my_study.yaml` makes them:" in found[1]
    assert found[-1] == (
        "to compute the marked ones again: `snakemake --forcerun $(paradise status --files --preset "
        "config/my_study.yaml) --configfile config/my_study.yaml`"
    )


def test_the_command_lists_the_marked_records_alone(preset, capsys):
    other_code(job_of(preset, "train", row="resnet18", seed="1"), LOOP)
    Path("results/digits/se_resnet18/seed0/log.csv").write_text("by hand")
    command(preset.path, files=True)
    # What follows from it is made again with it.
    assert capsys.readouterr().out.splitlines() == ["results/digits/resnet18/seed1/run.json"]
    command(preset.path)
    assert capsys.readouterr().out.splitlines() == describe(Survey(preset))


def test_jobs_in_words(preset):
    jobs = {str(job): job for job in Survey(preset).jobs.values()}
    some = [jobs[f"train {row}"] for row in ("resnet18 seed0", "resnet18 seed1", "pd_b_resnet18 seed1")]
    assert name_jobs(some[:1]) == "train resnet18 seed0"
    assert name_jobs(some[:2]) == "train, row resnet18, seeds 0, 1"
    assert name_jobs(some) == "train, rows resnet18, pd_b_resnet18, seeds 0, 1 (3 of 4)"
