import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import torch

from paradise.study import provenance
from paradise.study.code import fingerprint
from paradise.study.provenance import begin_record


def test_the_commit_and_whether_code_differs_from_it(tmp_path, monkeypatch):
    package = tmp_path / "src" / "paradise"
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    code, result = package / "block.py", tmp_path / "results" / "digits" / "metrics.json"
    write(code, "one")
    write(result, "one")
    assert provenance.commit() is None
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "all")
    commit = git("rev-parse", "HEAD")
    assert provenance.commit() == commit
    write(result, "two")
    write(tmp_path / "untracked", "one")
    assert provenance.commit() == commit, "a study at work has changed its own results"
    write(code, "two")
    assert provenance.commit() == f"{commit}+changes"


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
