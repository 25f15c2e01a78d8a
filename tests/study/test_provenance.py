import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from paradise.study import provenance
from paradise.study.code import fingerprint
from paradise.study.provenance import begin_record
from paradise.study.records import Machine


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def committed(project: Path) -> str:
    """Makes `project` a repository of all that is in it; returns its commit."""
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "all")
    return git(project, "rev-parse", "HEAD")


def install(project: Path, monkeypatch, place: str = "src/paradise/study") -> Path:
    """Puts what stands for the package into a project, and makes it the one that asks; returns its file."""
    file = project / place / "provenance.py"
    write(file, "one")
    monkeypatch.setattr(provenance, "__file__", str(file))
    return file


@pytest.fixture
def other(tmp_path) -> Path:
    """Another project's repository."""
    write(tmp_path / "other" / "file", "one")
    committed(tmp_path / "other")
    return tmp_path / "other"


def test_the_commit_and_whether_code_differs_from_it(tmp_path, monkeypatch):
    code = install(tmp_path, monkeypatch)
    result = tmp_path / "results" / "digits" / "metrics.json"
    write(result, "one")
    assert provenance.commit() is None
    commit = committed(tmp_path)
    assert provenance.commit() == commit
    write(result, "two")
    write(tmp_path / "untracked", "one")
    assert provenance.commit() == commit, "a study at work has changed its own results"
    write(code, "two")
    assert provenance.commit() == f"{commit}+changes"


def test_what_the_environment_says_of_another_repository_is_not_of_this_one(tmp_path, monkeypatch, other):
    install(tmp_path / "here", monkeypatch)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert provenance.commit() is None
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "here"))
    monkeypatch.setenv("GIT_INDEX_FILE", "nowhere")
    assert provenance.commit() is None
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name)
    commit = committed(tmp_path / "here")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert provenance.commit() == commit
    monkeypatch.setenv("GIT_DIR", "nowhere")
    assert provenance.commit() == commit


@pytest.mark.parametrize("ignored", [True, False])
def test_a_package_that_is_installed_in_another_project_has_no_commit(monkeypatch, other, ignored):
    if ignored:
        write(other / ".gitignore", ".venv\n")
        committed(other)
    install(other, monkeypatch, ".venv/lib/python3.11/site-packages/paradise/study")
    assert provenance.commit() is None


def test_a_repository_without_a_commit_and_a_bare_one(tmp_path, monkeypatch):
    install(tmp_path / "new", monkeypatch)
    git(tmp_path / "new", "init", "--quiet")
    git(tmp_path / "new", "add", "--all")
    assert provenance.commit() is None
    (tmp_path / "bare").mkdir()
    git(tmp_path / "bare", "init", "--quiet", "--bare")
    install(tmp_path / "bare", monkeypatch)
    assert provenance.commit() is None


def test_a_checkout_of_another_user_is_not_asked(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch)
    committed(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert provenance.commit() is None


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch)
    committed(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() is None


def test_a_shallow_clone_a_worktree_and_a_submodule_have_their_own(tmp_path, monkeypatch, other):
    source = tmp_path / "source"
    write(source / "src" / "paradise" / "study" / "provenance.py", "one")
    first = committed(source)
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{source}", "shallow")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "shallow/src/paradise/study/provenance.py"))
    assert provenance.commit() == first
    git(other, "submodule", "--quiet", "add", f"file://{source}", "within")
    git(other, "commit", "--quiet", "--message", "within")
    monkeypatch.setattr(provenance, "__file__", str(other / "within/src/paradise/study/provenance.py"))
    assert provenance.commit() == first
    git(source, "worktree", "add", "--quiet", str(tmp_path / "tree"))
    write(tmp_path / "tree" / "more", "one")
    second = committed(tmp_path / "tree")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "tree/src/paradise/study/provenance.py"))
    assert provenance.commit() == second != first


def test_what_a_machine_is_called_is_one_short_line(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "processor", lambda: "A\tCPU\n\x1b[31m of\u2028many" + " words" * 100)
    machine = begin_record("train", "digits", {}, {}, {}, ["paradise.study.hashes"])["machine"]
    assert machine["processor"].startswith("A CPU [31m of many words words")
    Machine.model_validate(machine)
    monkeypatch.setattr(provenance, "processor", lambda: "\n")
    assert begin_record("train", "digits", {}, {}, {}, ["paradise.study.hashes"])["machine"]["processor"] == "unknown"


def test_what_a_record_begins_with(tmp_path):
    (tmp_path / "manifest").write_bytes(b"images")
    settings, of = {"recipe": {"epochs": 3}}, {"row": "resnet18"}
    record = begin_record(
        "train", "digits", of, settings, {"manifest.csv": tmp_path / "manifest"}, ["paradise.study.hashes"]
    )
    assert set(record) == {
        *("step", "preset", "of", "settings", "inputs", "code", "time", "commit", "versions", "machine"),
    }
    assert (record["step"], record["preset"]) == ("train", "digits")
    assert (record["of"], record["settings"]) == (of, settings)
    assert record["inputs"] == {"manifest.csv": hashlib.sha256(b"images").hexdigest()}
    assert record["code"] == fingerprint("paradise.study.hashes")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(record["time"])) < timedelta(minutes=1)
    assert record["commit"] == provenance.commit()
    assert record["versions"]["python"] == platform.python_version()
    assert set(record["versions"]) <= {"python", *provenance.PACKAGES}
    assert all(record["versions"][package] == version(package) for package in set(record["versions"]) - {"python"})
    assert record["machine"] == {
        "system": platform.platform(),
        "processor": provenance.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": "cpu",
        "gpu": None,
    }
