"""Sharing a study: real git, DVC and Snakemake processes, in clones of a project whose small study was published."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
import yaml
from conftest import copy_project, run

pytestmark = pytest.mark.slow
SMOKE = ("--configfile", "config/smoke.yaml")
ROWS = ("resnet18", "pd_b_resnet18")
RESULTS = Path("results/smoke")
STUDY = Path(".dvc/study/files/md5")
ABSENT = "4 files of weights are not here: the remote 'weights' is not set"


def sh(project: Path, command: str, check: bool = True) -> str:
    return run(*command.split(), cwd=project, check=check).stdout


def planned(project: Path, *targets: str, preset: str = "config/smoke.yaml") -> dict[str, int]:
    """Rule → number of jobs that Snakemake would run."""
    output = run("snakemake", *targets, "-n", "--configfile", preset, cwd=project).stdout
    table = re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in table if rule not in ("all", "total", *targets)}


def commit(project: Path, message: str) -> None:
    sh(project, "git add --all")
    sh(project, f"git -c user.name=a -c user.email=a@example.com commit --quiet --message {message}")


def change_preset(project: Path, change, name: str = "smoke") -> None:
    path = project / "config" / f"{name}.yaml"
    preset = yaml.safe_load(path.read_text())
    change(preset)
    path.write_text(yaml.safe_dump(preset))


def of_latency(project: Path) -> dict:
    return json.loads((project / RESULTS / "profile" / "latency.json").read_text())


def gentler(preset: dict) -> None:
    """Another learning rate for one of the two rows."""
    preset["overrides"] = {"pd_b_*": {"learning_rate": 0.004}}


def digest(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A project whose smoke study, of two rows, was made, recorded, shared and committed."""
    project = copy_project(tmp_path_factory.mktemp("published"))
    shutil.rmtree(project / ".dvc" / "study", ignore_errors=True)
    shutil.rmtree(project / "results", ignore_errors=True)
    (project / "dvc.lock").unlink(missing_ok=True)
    change_preset(project, lambda preset: preset.update(rows=list(ROWS)))
    sh(project, "paradise dvc-yaml --preset config/smoke.yaml")
    sh(project, "git init --quiet")
    commit(project, "project")
    run("snakemake", *SMOKE, cwd=project)
    assert sh(project, "paradise push").splitlines() == [
        "13 stages recorded in dvc.lock, 0 as before",
        "18 files shared; now commit dvc.lock and what else git sees changed",
        "the weights stay on this machine: set their remote, `dvc remote modify weights url …`",
    ]
    commit(project, "study")
    return project


@pytest.fixture
def clone(published, tmp_path) -> Path:
    sh(published.parent, f"git clone --quiet {published} {tmp_path / 'clone'}")
    return tmp_path / "clone"


@pytest.fixture
def project(published, tmp_path) -> Path:
    """A copy of the published project with its weights, data and Snakemake's records."""
    return Path(shutil.copytree(published, tmp_path / "project", symlinks=True))


def test_recording_runs_and_changes_nothing(published):
    before = {path: path.stat().st_mtime_ns for path in (published / RESULTS).rglob("*")}
    assert sh(published, "paradise push").splitlines() == [
        "0 stages recorded in dvc.lock, 13 as before",
        "0 files shared; now commit dvc.lock and what else git sees changed",
        "the weights stay on this machine: set their remote, `dvc remote modify weights url …`",
    ]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert planned(published) == {}
    assert "Data and pipelines are up to date." in sh(published, "dvc status")
    assert sh(published, "git status --porcelain") == ""


def test_a_fresh_clone_has_the_tables_without_training(published, clone):
    output = sh(clone, "paradise pull")
    assert output.splitlines() == ["13 of 13 stages are as recorded", ABSENT]
    assert not list(clone.rglob("*.safetensors"))
    assert not list((clone / "data").rglob("*.png"))
    assert planned(clone) == {}
    tables = digest(clone / RESULTS / "tables")
    for path in (clone / RESULTS / "tables").iterdir():
        path.unlink()
    assert planned(clone, "tables") == {"table": 3}
    run("snakemake", "tables", *SMOKE, cwd=clone)
    assert digest(clone / RESULTS / "tables") == tables == digest(published / RESULTS / "tables")
    assert sh(clone, "git status --porcelain") == ""
    assert sh(clone, "paradise pull").splitlines() == ["13 of 13 stages are as recorded", ABSENT]


def test_plain_dvc_pull_is_enough_for_snakemake(clone):
    sh(clone, "dvc pull --allow-missing")
    assert planned(clone) == {}
    assert sh(clone, "paradise pull").splitlines() == ["13 of 13 stages are as recorded", ABSENT]


def test_after_a_pull_a_changed_recipe_trains_its_rows_and_no_others(clone):
    """The safety property, whether the preset was changed before the pull or after it."""
    row = {"train": 1, "fuse": 1, "evaluate": 1, "table": 3, "report": 1}
    sh(clone, "paradise pull")
    change_preset(clone, gentler)
    assert planned(clone) == row
    output = sh(clone, "paradise pull").splitlines()
    assert output[:4] == [
        "6 of 13 stages are as recorded",
        ABSENT,
        "7 to be computed again, by `snakemake --configfile config/smoke.yaml`:",
        "  train pd_b_resnet18 seed0: learning_rate changed",
    ]
    assert planned(clone) == row
    shutil.rmtree(clone / ".snakemake")
    assert planned(clone) == row

    kept = (clone / RESULTS / "resnet18" / "seed0" / "run.json").stat().st_mtime_ns
    run("snakemake", *SMOKE, cwd=clone)
    assert (clone / RESULTS / "resnet18" / "seed0" / "run.json").stat().st_mtime_ns == kept
    made = json.loads((clone / RESULTS / "pd_b_resnet18" / "seed0" / "run.json").read_text())
    assert made["settings"]["recipe"]["learning_rate"] == 0.004
    assert planned(clone) == {}
    assert sh(clone, "paradise push").splitlines()[0] == "7 stages recorded in dvc.lock, 6 as before"
    assert sh(clone, "paradise pull").splitlines()[0] == "13 of 13 stages are as recorded"
    assert planned(clone) == {}


def test_other_data_make_everything_again(clone):
    sh(clone, "paradise pull")
    change_preset(clone, lambda preset: preset["data"].update(per_class=12))
    folder = clone / "data" / "smoke"
    before = digest(folder)
    refused = run("snakemake", *SMOKE, cwd=clone, check=False)
    assert refused.returncode == 2
    assert "error: data/smoke was prepared with other settings (per_class), maybe for another study" in refused.stdout
    assert digest(folder) == before
    shutil.move(folder, clone / "data" / "kept")
    everything = {"prepare": 1, "train": 2, "fuse": 2, "evaluate": 2, "table": 3, "report": 1}
    assert planned(clone) == everything
    shutil.move(clone / "data" / "kept", folder)
    output = sh(clone, "paradise pull").splitlines()
    assert "  prepare: data.per_class changed" in output
    assert "  train, rows resnet18, pd_b_resnet18, seed 0: data.per_class changed" in output


def test_a_changed_image_is_named_and_prepared_again(project):
    path = sorted((project / "data" / "smoke" / "val").rglob("*.png"))[3]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    line = f"  prepare: {path.relative_to(project)} is not the image that was prepared"
    line = line.replace("data/smoke/", "")
    assert line in sh(project, "paradise pull").splitlines()
    assert planned(project)["prepare"] == 1
    assert line in sh(project, "paradise push").splitlines()


@pytest.mark.parametrize(
    ("name", "line", "jobs"),
    [
        ("metrics.json", "evaluate resnet18 seed0: metrics.json changed since it was made", {"evaluate": 1}),
        ("evaluation.json", "evaluate resnet18 seed0: evaluation.json is damaged (edited by hand)", {"evaluate": 1}),
        ("log.csv", "train resnet18 seed0: log.csv changed since it was made", {"train": 1, "fuse": 1, "evaluate": 1}),
    ],
)
def test_a_hand_edited_file_is_named_kept_and_made_again(project, name, line, jobs):
    path = project / RESULTS / "resnet18" / "seed0" / name
    original = path.read_text()
    edited = re.sub(r"\d\d", "99", original, count=1)
    path.write_text(edited)
    for command in ("push", "pull", "status --preset config/smoke.yaml"):
        assert f"  {line}" in sh(project, f"paradise {command}").splitlines()
    assert path.read_text() == edited
    assert planned(project) == jobs | {"table": 3, "report": 1}
    if name == "metrics.json":
        run("snakemake", *SMOKE, cwd=project)
        assert path.read_text() == original
        assert planned(project) == {}


def test_what_was_made_here_is_not_made_again_for_want_of_a_push(project):
    change_preset(project, gentler)
    run("snakemake", *SMOKE, cwd=project)
    made = "evaluate pd_b_resnet18 seed0, fuse pd_b_resnet18 seed0, report and 4 more"
    assert sh(project, "paradise pull").splitlines() == [
        "6 of 13 stages are as recorded",
        f"7 were made here since, not pushed yet: {made}",
    ]
    assert planned(project) == {}


def test_an_edited_comment_is_no_other_code(project):
    path = project / "src" / "paradise" / "study" / "evaluate.py"
    path.write_text(path.read_text() + "# A comment.\n")
    assert sh(project, "paradise pull").splitlines() == ["13 of 13 stages are as recorded"]
    assert planned(project) == {}
    ran = re.findall(r"Running stage '(.*)'", sh(project, "dvc repro"))
    assert ran == ["settings"]


def test_other_code_is_kept_marked_shared_and_made_again_where_that_is_wanted(project, tmp_path):
    path = project / "src" / "paradise" / "study" / "profiling" / "latency.py"
    path.write_text(path.read_text().replace("WARMUP_ROUNDS = 5", "WARMUP_ROUNDS = 3"))
    marked = [
        "1 of other code or versions, kept and marked:",
        f"  latency: other code in study.profiling.latency (commit {of_latency(project)['commit'][:10]})",
        "to compute the marked ones again: `snakemake --forcerun $(paradise status --files --preset config/smoke.yaml) "
        "--configfile config/smoke.yaml`",
    ]
    # What is shown of it says so, and is made again in seconds.
    assert planned(project) == {"table": 2, "report": 1}
    run("snakemake", *SMOKE, cwd=project)
    assert sh(project, "paradise push").splitlines()[:2] == [
        "3 stages recorded in dvc.lock, 10 as before",
        "1 of all are of other code or versions, and marked; `paradise status` says which",
    ]
    assert sh(project, "paradise pull").splitlines() == ["13 of 13 stages are as recorded", *marked]
    commit(project, "marked")
    sh(tmp_path, f"git clone --quiet {project} {tmp_path / 'clone'}")
    clone = tmp_path / "clone"
    assert sh(clone, "paradise pull").splitlines() == ["13 of 13 stages are as recorded", ABSENT, *marked]
    assert planned(clone) == {}
    assert sh(clone, "paradise status --files --preset config/smoke.yaml") == "results/smoke/profile/latency.json\n"
    assert "modified:           latency" in sh(clone, "dvc status latency")
    again = re.search("`(.*)`", marked[-1])[1]
    run("bash", "-c", again, cwd=clone)
    assert planned(clone) == {}
    assert of_latency(clone)["time"] > of_latency(project)["time"]
    assert sh(clone, "paradise pull").splitlines() == [
        "9 of 13 stages are as recorded",
        "4 were made here since, not pushed yet: latency, report, table claims and 1 more",
        ABSENT,
    ]


def test_files_of_others_stay(clone):
    for name in ("notes.txt", "resnet18/seed0/mine.csv", "resnet18/seed7/weights.safetensors"):
        (clone / RESULTS / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / RESULTS / name).write_text("mine")
    assert sh(clone, "paradise pull").splitlines()[0] == "13 of 13 stages are as recorded"
    for name in ("notes.txt", "resnet18/seed0/mine.csv", "resnet18/seed7/weights.safetensors"):
        assert (clone / RESULTS / name).read_text() == "mine"


def test_an_older_commit_comes_back(project):
    before = digest(project / RESULTS)
    change_preset(project, gentler)
    run("snakemake", *SMOKE, cwd=project)
    sh(project, "paradise push")
    commit(project, "gentler")
    assert digest(project / RESULTS) != before
    sh(project, "git checkout --quiet HEAD~1")
    assert sh(project, "paradise pull").splitlines() == ["13 of 13 stages are as recorded"]
    after = digest(project / RESULTS)
    # Neither git nor DVC keeps these.
    made_again = ("logs", "benchmarks", "figures")
    assert {path: after[path] for path in before if not path.startswith(made_again)} == {
        path: content for path, content in before.items() if not path.startswith(made_again)
    }
    assert planned(project) == {}
    sh(project, "git checkout --quiet master")
    sh(project, "dvc checkout")
    assert "Data and pipelines are up to date." in sh(project, "dvc status")


def test_dvc_runs_what_changed_and_nothing_else(project):
    assert "Data and pipelines are up to date." in sh(project, "dvc repro")
    assert "Data and pipelines are up to date." in sh(project, "dvc repro evaluate-resnet18-seed0")
    output = sh(
        project, "dvc exp run --set-param config/smoke.yaml:training.learning_rate=0.003 evaluate-resnet18-seed0"
    )
    assert "Ran experiment" in output
    ran = re.findall(r"Running stage '(.*)'", output)
    assert ran == ["settings", "train-resnet18-seed0", "fuse-resnet18-seed0", "evaluate-resnet18-seed0"]
    made = json.loads((project / RESULTS / "resnet18" / "seed0" / "run.json").read_text())
    assert made["settings"]["recipe"]["learning_rate"] == 0.003
    changed = json.loads(sh(project, "dvc params diff --json"))["results/smoke/settings.json"]
    assert changed["train-resnet18-seed0.recipe.learning_rate"] == {"old": 0.005, "new": 0.003, "diff": -0.002}
    changed = json.loads(sh(project, "dvc metrics diff --json"))
    assert list(changed) == ["results/smoke/resnet18/seed0/metrics.json"] or changed == {}


def test_metrics_and_plots_say_something(project):
    shown = sh(project, "dvc metrics show")
    for row in ROWS:
        top1 = json.loads((project / RESULTS / row / "seed0" / "metrics.json").read_text())["fused"]["top1"]
        assert re.search(rf"{row}/seed0/metrics\.json +{top1}", shown)
    plots = json.loads(sh(project, "dvc plots show --json"))["data"]
    training, latency = (plots[name][0]["content"] for name in ("training", "accuracy against latency"))
    assert {point["filename"] for point in training["data"]["values"]} == {f"{row}/seed0/log.csv" for row in ROWS}
    assert "top-1 accuracy, %" in json.dumps(training)
    assert [point["model"] for point in latency["data"]["values"]][:2] == ["ResNet18", "SE-ResNet18"]
    assert "latency at 224×224, batch 1, ms" in json.dumps(latency, ensure_ascii=False)


def test_a_remote_with_half_the_objects_gives_the_other_half(clone):
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    outs = lock["stages"]["evaluate-resnet18-seed0"]["outs"]
    gone = next(out["md5"] for out in outs if out["path"].endswith("predictions.csv.xz"))
    (clone / STUDY / gone[:2] / gone[2:]).unlink()
    assert sh(clone, "paradise pull").splitlines()[:6] == [
        "8 of 13 stages are as recorded",
        "1 files could not be fetched: a remote lacks them or holds them damaged",
        "  results/smoke/resnet18/seed0/predictions.csv.xz",
        ABSENT,
        "5 to be computed again, by `snakemake --configfile config/smoke.yaml`:",
        "  evaluate resnet18 seed0: predictions.csv.xz is not here",
    ]
    assert (clone / RESULTS / "pd_b_resnet18" / "seed0" / "predictions.csv.xz").exists()
    assert planned(clone) == {"train": 1, "fuse": 1, "evaluate": 1, "table": 3, "report": 1}


def test_a_kept_checkpoint_does_not_go_into_git(project, tmp_path):
    checkpoint = project / "checkpoints" / "others.pth"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"a checkpoint")
    sh(project, f"dvc add --quiet {checkpoint}")
    before = digest(project / ".dvc" / "study")
    assert "0 files shared; now commit dvc.lock and what else git sees changed" in sh(project, "paradise push")
    assert digest(project / ".dvc" / "study") == before
    sh(project, f"dvc remote modify --quiet weights url {tmp_path / 'weights'}")
    sh(project, f"dvc push --quiet --remote weights {checkpoint}")
    assert b"a checkpoint" in digest(tmp_path / "weights").values()


def test_another_study_is_shared_as_a_folder_without_its_weights(project, tmp_path):
    shutil.copy(project / "config" / "smoke.yaml", project / "config" / "other.yaml")
    change_preset(project, lambda preset: preset["data"].update(folder="data/other"), "other")
    run("snakemake", "--configfile", "config/other.yaml", cwd=project)
    other = project / "results" / "other"
    tables = digest(other / "tables")
    push = "paradise push --preset config/other.yaml"
    assert "results/other: 2 of 2 runs; " in sh(project, push)
    commit(project, "other")
    sh(tmp_path, f"git clone --quiet {project} {tmp_path / 'clone'}")
    clone = tmp_path / "clone"
    assert not (clone / "results" / "other").exists()
    assert "results/other: 2 of 2 runs are here" in sh(clone, "paradise pull").splitlines()
    assert not list((clone / "results" / "other").rglob("*.safetensors"))
    assert (clone / "results/other/resnet18/seed0/predictions.csv.xz").exists()
    assert planned(clone, preset="config/other.yaml") == {"table": 3, "report": 1}
    run("snakemake", "tables", "--configfile", "config/other.yaml", cwd=clone)
    assert digest(clone / "results" / "other" / "tables") == tables
    # What was changed since is neither shared nor written over.
    change = (clone / "results/other/resnet18/seed0/log.csv").open("a")
    change.write("by hand")
    change.close()
    assert "results/other was changed here, and is left as it is" in sh(clone, "paradise pull").splitlines()
    refused = run(*push.split(), cwd=clone, check=False)
    assert refused.returncode == 2
    assert refused.stdout == (
        "error: results/other has results that config/other.yaml would not make (train resnet18 seed0: log.csv changed "
        "since it was made); run snakemake\n"
    )


def test_a_damaged_object_is_not_taken(clone):
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    outs = lock["stages"]["train-resnet18-seed0"]["outs"]
    bad = next(out["md5"] for out in outs if out["path"].endswith("run.json"))
    path = clone / STUDY / bad[:2] / bad[2:]
    path.chmod(0o644)
    path.write_text(path.read_text().replace("0.005", "0.006"))
    output = sh(clone, "paradise pull").splitlines()
    assert output[1:3] == [
        "1 files could not be fetched: a remote lacks them or holds them damaged",
        "  results/smoke/resnet18/seed0/run.json",
    ]
    assert "  train resnet18 seed0: not here" in output
    assert not (clone / RESULTS / "resnet18" / "seed0" / "run.json").exists()


def test_an_unreachable_remote_is_named_and_nothing_lost(clone, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    sh(clone, "dvc remote modify --local study url s3://nowhere/study")
    sh(clone, f"dvc remote modify --local study endpointurl http://127.0.0.1:{free_port()}")
    before = digest(clone / RESULTS)
    done = run("paradise", "pull", cwd=clone, check=False)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith("error: the remote 'study' (s3://nowhere/study) cannot be read: ")
    assert done.stdout.splitlines()[-1].endswith("; nothing was changed")
    assert "Traceback" not in done.stdout
    assert digest(clone / RESULTS) == before


def test_a_merge_conflict_is_named(clone):
    lock = clone / "dvc.lock"
    text = lock.read_text()
    lock.write_text(f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n")
    for command in ("pull", "push"):
        done = run("paradise", command, cwd=clone, check=False)
        assert done.returncode == 2
        assert done.stdout == (
            "error: dvc.lock has a merge conflict in line 1; take one side, `git checkout --ours dvc.lock` or "
            "`--theirs`, and pull again\n"
        )
    assert lock.read_text().startswith("<<<<<<<")


def test_two_pulls_at_once_do_no_harm(clone):
    command = [str(Path(sys.executable).with_name("paradise")), "pull"]
    environment = os.environ | {"PYTHONPATH": str(clone / "src")}
    pulls = [
        subprocess.Popen(
            command, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    outputs = [pull.communicate(timeout=120)[0] for pull in pulls]
    assert sorted(pull.returncode for pull in pulls) == [0, 2]
    assert sorted(outputs) == [
        f"13 of 13 stages are as recorded\n{ABSENT}\n",
        "error: another `paradise pull` or `push` is at work here; wait until it ends\n",
    ]
    assert planned(clone) == {}


MINE = "--configfile", "config/mine.yaml"


def test_a_study_of_ones_own_in_place_of_digits(published, tmp_path):
    """Two seeds of three rows, by the words of the README."""
    project = Path(shutil.copytree(published, tmp_path / "project", symlinks=True))
    shutil.copy(project / "config" / "smoke.yaml", project / "config" / "mine.yaml")
    rows = ["resnet18", "pd_a_resnet18", "pd_b_resnet18-standard1-skeleton"]
    change_preset(project, lambda preset: preset.update(rows=rows, seeds=[0, 1]), "mine")
    change_preset(project, lambda preset: preset["data"].update(folder="data/mine"), "mine")
    refused = run("paradise", "dvc-yaml", "--preset", "config/mine.yaml", "--check", cwd=project, check=False)
    assert refused.returncode == 2
    assert refused.stdout == (
        "error: dvc.yaml is not what config/mine.yaml makes; `paradise dvc-yaml --preset config/mine.yaml` writes it\n"
    )
    sh(project, "paradise dvc-yaml --preset config/mine.yaml")
    sh(project, "paradise dvc-yaml --preset config/mine.yaml --check")
    run("snakemake", *MINE, cwd=project)
    # prepare, complexity, latency, three tables, the report; six runs are trained, fused and evaluated
    assert sh(project, "paradise push").splitlines()[0] == "25 stages recorded in dvc.lock, 0 as before"
    commit(project, "mine")
    sh(tmp_path, f"git clone --quiet {project} {tmp_path / 'clone'}")
    clone = tmp_path / "clone"
    assert sh(clone, "paradise pull").splitlines() == [
        "25 of 25 stages are as recorded",
        "12 files of weights are not here: the remote 'weights' is not set",
    ]
    assert planned(clone, preset="config/mine.yaml") == {}
    assert digest(clone / "results" / "mine" / "tables") == digest(project / "results" / "mine" / "tables")
    top1 = r"results/mine/pd_a_resnet18/seed1/metrics\.json +[\d.]+"
    assert re.search(top1, sh(clone, "dvc metrics show"))
    # A row more, and nothing of the others is made again.
    change_preset(clone, lambda preset: preset.update(rows=[*rows, "pd_b_resnet18"]), "mine")
    assert planned(clone, preset="config/mine.yaml")["train"] == 2
    refused = run("paradise", "push", cwd=clone, check=False)
    assert (refused.returncode, refused.stdout) == (
        2,
        "error: dvc.yaml is not what config/mine.yaml makes; `paradise dvc-yaml --preset config/mine.yaml` writes it\n",
    )


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture
def bucket(monkeypatch):
    """A bucket on a real S3 API server: (its client, the server's address)."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
        client.create_bucket(Bucket="paradise")
        yield client, f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def test_weights_go_through_s3_and_a_damaged_one_is_noticed(project, tmp_path, bucket):
    client, address = bucket
    sh(project, "dvc remote modify weights url s3://paradise/weights")
    sh(project, f"dvc remote modify weights endpointurl {address}")
    commit(project, "remote")
    assert sh(project, "paradise push").splitlines() == [
        "0 stages recorded in dvc.lock, 13 as before",
        "4 files shared; now commit dvc.lock and what else git sees changed",
    ]
    objects = client.list_objects_v2(Bucket="paradise")["Contents"]
    assert len(objects) == 4

    sh(tmp_path, f"git clone --quiet {project} clone")
    clone = tmp_path / "clone"
    assert sh(clone, "paradise pull").splitlines() == ["13 of 13 stages are as recorded"]
    for row in ROWS:
        for name in ("weights.safetensors", "fused.safetensors"):
            path = RESULTS / row / "seed0" / name
            assert (clone / path).read_bytes() == (project / path).read_bytes()
    assert planned(clone) == {}
    assert "Data and pipelines are up to date." in sh(clone, "dvc status")

    weights = RESULTS / "resnet18" / "seed0" / "weights.safetensors"
    (clone / weights).unlink()
    shutil.rmtree(clone / ".dvc" / "cache")
    line = re.search(r"`(dvc pull [^`]*)`", (clone / RESULTS / "tables" / "imagenet.md").read_text())[1]
    sh(clone, line)
    assert (clone / weights).read_bytes() == (project / weights).read_bytes()

    lock = yaml.safe_load((project / "dvc.lock").read_text())
    md5 = next(out["md5"] for out in lock["stages"]["train-resnet18-seed0"]["outs"] if out["path"] == str(weights))
    key = next(item["Key"] for item in objects if item["Key"].endswith(md5[2:]))
    content = bytearray((project / weights).read_bytes())
    content[len(content) // 2] ^= 1
    client.put_object(Bucket="paradise", Key=key, Body=bytes(content))
    sh(tmp_path, f"git clone --quiet {project} other")
    output = sh(tmp_path / "other", "paradise pull")
    assert "1 files of weights are not here: the remote 'weights' lacks them or holds them damaged" in output
    assert not (tmp_path / "other" / weights).exists()
    assert (tmp_path / "other" / RESULTS / "resnet18" / "seed0" / "fused.safetensors").exists()
