"""Recording and fetching a study whose files are made up: DVC and git as they are, nothing trained."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from dvc.repo import Repo
from written import change_record, job_of, make_preset, make_study, other_code, some_evidence, write_job

from paradise.errors import UserError
from paradise.study.code import digest
from paradise.study.sharing.pipeline import study_files
from paradise.study.sharing.pull import pull
from paradise.study.sharing.push import left_behind, push, push_folder
from paradise.study.sharing.repo import described
from paradise.study.stale import Survey
from paradise.study.tables import write_tables

ROWS = ["resnet18", "pd_b_resnet18"]
LOOP = "paradise.study.training.loop"
UNSET = "the weights stay on this machine: set their remote, `dvc remote modify weights url …`"
ABSENT = "8 files of weights are not here: the remote 'weights' is not set"
LOG = Path("results/digits/resnet18/seed0/log.csv")
TRAIN = "train-resnet18-seed0"


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments], check=True)


@pytest.fixture
def preset(tmp_path, monkeypatch):
    """A study of two rows with two seeds in a project of its own, nothing of it recorded."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    shutil.copytree(REPOSITORY / "data" / "paper", "data/paper")
    Path(".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        shutil.copy(REPOSITORY / name, name)
    Path("src/paradise").mkdir(parents=True)
    Path("src/paradise/block.py").write_text("x = 1\n")
    preset = make_study(ROWS, seeds=[0, 1])
    write_tables(["imagenet", "ablation", "claims"], preset)
    write_dvc_yaml(preset)
    git("init", "--quiet")
    return preset


@pytest.fixture
def pushed(preset, capsys):
    push()
    git("add", "--all")
    git("commit", "--quiet", "--message", "study")
    capsys.readouterr()
    return preset


@pytest.fixture
def clone(pushed, tmp_path, monkeypatch):
    git("clone", "--quiet", ".", str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    return pushed


def write_dvc_yaml(preset) -> None:
    for path, text in study_files(preset).items():
        path.write_text(text)


def said(capsys, act) -> list[str]:
    act()
    return capsys.readouterr().err.splitlines()


def lock() -> dict:
    return yaml.safe_load(Path("dvc.lock").read_text())["stages"]


def status(*stages: str) -> dict:
    with Repo() as repo:
        return dict(repo.status(list(stages) or None))


def test_what_was_made_is_recorded_as_dvc_itself_does(preset, capsys):
    # prepare, complexity, latency, three tables; training, fusion and evaluation of four runs
    assert said(capsys, push) == [
        "18 stages recorded in dvc.lock, 0 as before",
        "24 files shared; now commit dvc.lock and what else git sees changed",
        UNSET,
    ]
    recorded = [name for name in lock() if name != "settings"]
    assert len(recorded) == 18
    assert status("settings", *recorded) == {}
    before = lock()
    Path("dvc.lock").unlink()
    names = ["settings", "prepare", TRAIN, "evaluate-resnet18-seed0", "table-imagenet"]
    with Repo() as repo:
        for name in names:
            repo.commit(name, force=True)
    assert lock() == {name: before[name] for name in names}


def test_what_is_recorded_is_not_recorded_again(pushed, capsys):
    before = Path("dvc.lock").stat().st_mtime_ns
    assert said(capsys, push) == [
        "0 stages recorded in dvc.lock, 18 as before",
        "0 files shared; now commit dvc.lock and what else git sees changed",
        UNSET,
    ]
    assert Path("dvc.lock").stat().st_mtime_ns == before


def test_a_clone_gets_all_but_the_weights(clone, capsys):
    assert said(capsys, pull) == ["18 of 18 stages are as recorded", ABSENT]
    assert not list(Path().rglob("*.safetensors"))
    assert LOG.exists()
    survey = Survey(clone)
    assert not [job for job in survey.jobs.values() if not survey.missing(job) and survey.why_stale(job)]


def test_in_a_clone_nothing_is_recorded_otherwise(clone, capsys):
    pull()
    capsys.readouterr()
    before = Path("dvc.lock").read_text()
    assert said(capsys, push)[:2] == [
        "0 stages recorded in dvc.lock, 18 as before",
        "0 files shared; now commit dvc.lock and what else git sees changed",
    ]
    assert Path("dvc.lock").read_text() == before


def test_of_other_code_is_shared_with_that_code_and_said(preset, capsys):
    job = job_of(preset, "train", row="resnet18", seed="0")
    other_code(job, LOOP)
    write_tables(["imagenet", "ablation", "claims"], preset)
    assert said(capsys, push)[:2] == [
        "18 stages recorded in dvc.lock, 0 as before",
        "3 of all are of other code or versions, and marked; `paradise status` says which",
    ]
    code = lock()[TRAIN]["params"]["results/digits/settings.json"][TRAIN]["code"]
    assert code == digest(job.code | {LOOP: "0" * 12}) != digest(job.code)
    # DVC sees what the survey sees: where the code differs, and there alone.
    assert status(*(name for name in lock())) == {
        TRAIN: [{"changed deps": {"results/digits/settings.json": {TRAIN: "modified"}}}]
    }
    assert said(capsys, pull) == [
        "18 of 18 stages are as recorded",
        "3 of other code or versions, kept and marked:",
        "  train resnet18 seed0: other code in study.training.loop (commit 0123456789)",
        "to compute the marked ones again: `snakemake --forcerun $(paradise status --files)`",
    ]


def test_what_must_not_be_shown_is_named_and_not_recorded(preset, capsys):
    LOG.write_text("by hand")
    lines = said(capsys, push)
    assert lines[:3] == [
        "12 stages recorded in dvc.lock, 0 as before",
        "6 not recorded; `paradise pull` fetches them, or `snakemake` computes them:",
        "  train resnet18 seed0: log.csv changed since it was made",
    ]
    assert not {TRAIN, "fuse-resnet18-seed0", "evaluate-resnet18-seed0", "table-imagenet"} & set(lock())
    assert TRAIN.replace("seed0", "seed1") in lock()


def test_a_changed_preset_is_told_by_pull_with_the_command(pushed, capsys):
    make_preset(ROWS, [0, 1], overrides={"pd_b_*": {"learning_rate": 0.004}})
    assert said(capsys, pull) == [
        "9 of 18 stages are as recorded",
        "9 to be computed again, by `snakemake`:",
        "  train, row pd_b_resnet18, seeds 0, 1: learning_rate changed",
        "  table, tables ablation, claims, imagenet: overrides.pd_b_* changed",
    ]


def test_what_was_made_here_since_is_named_and_stays(pushed, capsys):
    write_job(job_of(pushed, "latency"), time="2027-01-01T00:00:00+00:00")
    made = Path("results/digits/profile/latency.json").read_text()
    write_tables(["imagenet", "ablation", "claims"], pushed)
    lines = said(capsys, pull)
    assert lines[:2] == [
        "15 of 18 stages are as recorded",
        "3 were made here since, not pushed yet: latency, table claims, table imagenet",
    ]
    assert Path("results/digits/profile/latency.json").read_text() == made
    assert said(capsys, push)[0] == "3 stages recorded in dvc.lock, 15 as before"


def test_changes_that_nobody_holds_are_not_written_over_others_are(pushed, capsys):
    recorded = LOG.read_text()
    LOG.write_text("by hand")
    lines = said(capsys, pull)
    assert "  train resnet18 seed0: log.csv changed since it was made" in lines
    assert LOG.read_text() == "by hand"
    LOG.unlink()
    pull()
    assert LOG.read_text() == recorded
    # Another content that the cache holds is that of another commit.
    LOG.write_bytes(Path("results/digits/resnet18/seed1/log.csv").read_bytes())
    pull()
    assert LOG.read_text() == recorded


def test_weights_that_were_deleted_are_not_recorded_of_a_new_run(pushed, capsys):
    weights = Path("results/digits/resnet18/seed0/weights.safetensors")
    weights.unlink()
    assert said(capsys, push)[0] == "0 stages recorded in dvc.lock, 18 as before"
    before = lock()[TRAIN]
    change_record(job_of(pushed, "train", row="resnet18", seed="0"), seconds=7.0)
    lines = said(capsys, push)
    assert f"  train resnet18 seed0: {weights.name} is not here" in lines
    assert lock()[TRAIN] == before


def test_what_is_no_longer_a_stage_leaves_the_lock_file(pushed, capsys):
    assert "train-pd_b_resnet18-seed1" in lock()
    smaller = make_preset(["resnet18"], [0])
    with pytest.raises(UserError) as refused:
        push()
    assert str(refused.value) == (
        "dvc.yaml is not what config/digits.yaml makes; `paradise dvc-yaml --preset config/digits.yaml` writes it"
    )
    assert said(capsys, pull)[1] == str(refused.value)
    write_dvc_yaml(smaller)
    push()
    assert sorted(name for name in lock() if "resnet18" in name) == [
        f"{step}-resnet18-seed0" for step in ("evaluate", "fuse", "train")
    ]


def test_results_without_a_stage_are_named(pushed, capsys):
    values = {key: value for key, value in pushed.values().items() if key != "evidence"}
    pushed.path.write_text(yaml.safe_dump(values))
    preset = described()
    write_dvc_yaml(preset)
    write_job(job_of(preset, "make_evidence", piece="perceptrons"), evidence=some_evidence())
    write_tables(["imagenet", "ablation", "claims"], preset)
    assert said(capsys, push)[1] == "1 not shared, as dvc.yaml has no stage for them: make_evidence perceptrons"


def test_an_edited_comment_changes_no_stage_but_the_settings(pushed):
    Path("src/paradise/block.py").write_text("x = 1  # one\n")
    assert set(status(*lock())) == {"settings"}


def test_the_preset_of_a_pipeline(pushed):
    assert described() == pushed
    pipeline = Path("dvc.yaml")
    for text in (
        "stages: {}\n",
        "vars: []\nstages: {}\n",
        "vars: [{preset: 3}]\nstages: {}\n",
        "{",
        "vars:\nstages:\n",
    ):
        pipeline.write_text(text)
        with pytest.raises(UserError) as refused:
            described()
        assert str(refused.value) == "dvc.yaml names no preset; `paradise dvc-yaml --preset FILE` writes it for one"
    pipeline.unlink()
    with pytest.raises(UserError) as refused:
        pull()
    assert str(refused.value) == "no dvc.yaml here; run in the project's folder"


def test_a_remote_that_is_not_there_is_named(pushed):
    config = Path(".dvc/config")
    config.write_text(config.read_text().replace('remote "weights"', 'remote "other"'))
    with pytest.raises(UserError) as refused:
        pull()
    assert str(refused.value) == "no remote 'weights' in .dvc/config; `dvc remote add weights URL` puts it there"


def test_what_does_not_travel_with_a_folder(preset):
    assert left_behind(preset) == [
        "/results/digits/**/*.safetensors",
        "/results/digits/figures",
        "/results/digits/logs/*.log",
        "/results/digits/benchmarks/*.tsv",
        "/results/digits/study.crate.zip",
        "/results/digits/crate.json",
        "/results/digits/logs/crate.log",
        "/results/digits/benchmarks/crate.tsv",
        "/results/digits/report.html",
        "/results/digits/report.json",
        "/results/digits/logs/report.log",
        "/results/digits/benchmarks/report.tsv",
        "/results/digits/tables/*.md",
        "/results/digits/tables/*.csv",
        "/results/digits/tables/*.json",
        "/results/digits/logs/table/*.log",
        "/results/digits/benchmarks/table/*.tsv",
    ]


def test_another_study_travels_as_a_folder_without_weights_and_views(pushed, capsys, tmp_path, monkeypatch):
    other = make_study(ROWS, seeds=[0, 1], name="other")
    assert said(capsys, lambda: push_folder(other.path)) == [
        "results/other: 4 of 4 runs; 19 files shared",
        "now commit results/other.dvc and what else git sees changed",
    ]
    git("add", "--all")
    git("commit", "--quiet", "--message", "other")
    git("clone", "--quiet", ".", str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    assert said(capsys, pull) == ["18 of 18 stages are as recorded", ABSENT, "results/other: 4 of 4 runs are here"]
    assert not list(Path("results/other").rglob("*.safetensors"))
    assert Path("results/other/resnet18/seed0/predictions.csv.xz").exists()


def test_a_folder_with_results_that_must_not_be_shown_is_refused(pushed):
    other = make_study(ROWS, seeds=[0, 1], name="other")
    make_preset(ROWS, [0, 1], name="other", training={"momentum": 0.8})
    with pytest.raises(UserError) as refused:
        push_folder(other.path)
    assert str(refused.value) == (
        "results/other has results that config/other.yaml would not make (train, rows resnet18, pd_b_resnet18, "
        "seeds 0, 1: momentum changed); run snakemake"
    )
    shutil.rmtree("results/other")
    with pytest.raises(UserError) as refused:
        push_folder(other.path)
    assert str(refused.value) == "results/other has no finished run of config/other.yaml; run snakemake"
    assert os.listdir("results") == ["digits"]
