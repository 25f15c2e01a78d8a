import subprocess
from pathlib import Path

from paradise.study import record


def test_the_commit_and_whether_code_differs_from_it(tmp_path, monkeypatch):
    package = tmp_path / "src" / "paradise"
    monkeypatch.setattr(record, "__file__", str(package / "record.py"))

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
    assert record.commit() is None
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "all")
    commit = git("rev-parse", "HEAD")
    assert record.commit() == commit
    write(result, "two")
    write(tmp_path / "untracked", "one")
    assert record.commit() == commit, "a study at work has changed its own results"
    write(code, "two")
    assert record.commit() == f"{commit}+changes"
