"""A result made stale in each way: tables, claims, report, status, push, pull and Snakemake say the same of it."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import copy_project, run
from written import change_record, job_of, make_study, other_code, write_job

from paradise.study.hashes import sha256
from paradise.study.predictions import read_predictions, write_predictions
from paradise.study.preset import Preset
from paradise.study.records import FORMS, PREDICTIONS

pytestmark = pytest.mark.slow
ROW = "pd_b_resnet18"
ROWS = ["resnet18", ROW]
FOLDER = Path(f"results/digits/{ROW}/seed0")
CONFIG, COPY = Path("config/digits.yaml"), Path("config/copy.yaml")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """A project whose study of two rows and two seeds is recorded in DVC, shown and committed."""
    project = copy_project(tmp_path_factory.mktemp("shared"))
    for name in ("dvc.lock", ".dvc/study", "results"):
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        make_study(ROWS, seeds=[0, 1], evidence={})
    run("git", "init", "-q", cwd=project)
    run("paradise", "dvc-yaml", cwd=project)
    for command in (("tables",), ("report",), ("push",)):
        run("paradise", *command, cwd=project)
    return project


@pytest.fixture
def project(shared, tmp_path, monkeypatch) -> Path:
    copied = Path(shutil.copytree(shared, tmp_path / "project", symlinks=True))
    monkeypatch.chdir(copied)
    return copied


def preset() -> Preset:
    return Preset.load(CONFIG)


def change_setting() -> None:
    values = yaml.safe_load(CONFIG.read_text())
    values["overrides"] = {"pd_b_*": {"learning_rate": 0.5}}
    CONFIG.write_text(yaml.safe_dump(values))


def change_data() -> None:
    manifest = Path("data/digits/manifest.csv")
    image = next(Path("data/digits/train").rglob("*.png"))
    old = sha256(image)
    image.write_text("another picture")
    manifest.write_text(manifest.read_text().replace(old, sha256(image)))
    change_record(job_of(preset(), "prepare"), outputs={"manifest.csv": sha256(manifest)})


def edit_number() -> None:
    path = FOLDER / "evaluation.json"
    accuracy = {"top1_hits": 360, "top5_hits": 360, "top1": 100.0, "top5": 100.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fused": accuracy}))


def edit_prediction() -> None:
    """One image is said to look like another digit than the network took it for."""
    path = FOLDER / PREDICTIONS
    said = read_predictions(path)
    said["trained_1"][0] = str((int(said["trained_1"][0]) + 1) % 10)
    best = {form: list(zip(*(said[f"{form}_{rank}"] for rank in range(1, 6)))) for form in FORMS}
    write_predictions(path, said["image"], said["label"], best)


def copy_preset() -> None:
    shutil.copy(CONFIG, COPY)
    shutil.copytree("results/digits", "results/copy")


def copy_row() -> None:
    shutil.rmtree(FOLDER)
    shutil.copytree("results/digits/resnet18/seed0", FOLDER)


def copy_seed() -> None:
    shutil.rmtree(FOLDER)
    shutil.copytree(f"results/digits/{ROW}/seed1", FOLDER)


def change_versions() -> None:
    job = job_of(preset(), "train", row=ROW, seed="0")
    change_record(job, versions=json.loads(job.record.read_text())["versions"] | {"torch": "1.0.0"})


# What is done; whether the number is still shown; what is said.
WAYS = {
    "setting": (change_setting, False, "learning_rate changed"),
    "data": (change_data, False, "it was made of another manifest.csv"),
    "edited by hand": (edit_number, False, "edited by hand"),
    "a prediction edited": (edit_prediction, False, "predictions.csv.xz changed since it was made"),
    "a copied preset": (copy_preset, False, "of the preset digits"),
    "another row's folder": (copy_row, False, "is of resnet18 seed0"),
    "another seed's folder": (copy_seed, False, f"is of {ROW} seed1"),
    "code": (
        lambda: other_code(job_of(preset(), "train", row=ROW, seed="0"), "paradise.block"),
        True,
        "other code in block",
    ),
    "version of torch": (change_versions, True, "torch 1.0.0, now"),
}


def refused(status: str) -> list[str]:
    """What `paradise status` says is computed again, but for tables and report, which only follow."""
    lines = status.splitlines()
    begin = next((number for number, line in enumerate(lines) if "to be computed again" in line), len(lines)) + 1
    end = next((number for number, line in enumerate(lines) if number >= begin and line[:1] != " "), len(lines))
    return [line for line in lines[begin:end] if not line.startswith(("  table", "  report"))]


@pytest.mark.parametrize("way", WAYS)
def test_all_say_the_same(project, way):
    make_stale, shown, words = WAYS[way]
    make_stale()
    config = COPY if way == "a copied preset" else CONFIG
    results, named = Path("results", config.stem), ("--preset", str(config))

    status = run("paradise", "status", *named, cwd=project).stdout
    assert words in status
    assert ("kept and marked" in status) == shown
    assert bool(refused(status)) != shown

    planned = run("snakemake", "-n", "--configfile", str(config), cwd=project).stdout
    jobs = set(re.findall(r"^(train|evaluate) +\d+$", planned, flags=re.MULTILINE))
    assert words in planned
    measured = {"evaluate"} if way in ("edited by hand", "a prediction edited") else {"train", "evaluate"}
    assert jobs == (set() if shown else measured)

    tables = run("paradise", "tables", *named, cwd=project, check=way != "edited by hand")
    if tables.returncode:
        assert re.search(r"^error: .*delete it and run snakemake", tables.stdout, flags=re.MULTILINE)
    else:
        with open(results / "tables" / "imagenet.csv", newline="") as file:
            line = next(line for line in csv.DictReader(file) if line["row"] == ROW)
        everything = line["runs"].split()
        assert (f"{results}/{ROW}/seed0/run.json" in everything) == shown
        assert (words in line["marks"]) == shown
        for name in ("imagenet", "claims"):
            text = Path(results, "tables", f"{name}.md").read_text()
            assert words in text, name
            assert ("†" in text) == shown

    run("paradise", "report", *named, cwd=project)
    page = (results / "report.html").read_text()
    assert words in page
    assert (f'id="{ROW}-seed0"' in page) == shown

    # Another study than `dvc.yaml`'s is pushed as one folder, all of it or nothing.
    pushed = run("paradise", "push", *(named if config == COPY else ()), cwd=project, check=config == CONFIG).stdout
    # What is shared and marked is counted; what is not recorded is named.
    assert ("are of other code or versions, and marked; `paradise status` says which" if shown else words) in pushed

    pulled = run("paradise", "pull", cwd=project).stdout
    assert words in pulled or not shown  # what is refused is fetched again, as it was recorded


def test_what_was_refused_comes_back_by_a_pull(project):
    job = job_of(preset(), "evaluate", row=ROW, run="seed0")
    recorded = job.record.read_text()
    edit_number()
    run("paradise", "pull", cwd=project)
    assert job.record.read_text() != recorded  # a change that DVC does not hold is left as it is
    job.record.unlink()
    run("paradise", "pull", cwd=project)
    assert job.record.read_text() == recorded


def test_a_run_made_anew_is_shared_again(project):
    edit_number()
    write_job(job_of(preset(), "evaluate", row=ROW, run="seed0"))
    assert refused(run("paradise", "status", cwd=project).stdout) == []
