"""Checkouts as people have them: another end of lines, no git, a folder that nobody can write to."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY, copy_project, run

NO_RIGHTS = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.getuid() == 0 else ()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """What git has, without git, as a downloaded archive is."""
    return copy_project(tmp_path_factory.mktemp("archive") / "paradise")


def test_every_checkout_has_the_same_bytes(tmp_path):
    """Also where git is told to write the line ends of Windows: hashes are compared."""
    run("git", "clone", "--quiet", "-c", "core.autocrlf=true", str(REPOSITORY), "clone", cwd=tmp_path)
    ends = run("git", "ls-files", "--eol", cwd=tmp_path / "clone").stdout.splitlines()
    assert len(ends) > 300
    assert [line for line in ends if "w/crlf" in line or "w/mixed" in line] == []


@pytest.mark.slow
def test_an_archive_without_git_gets_what_was_published(archive):
    said = run("paradise", "pull", cwd=archive).stdout
    assert "stages are as recorded" in said
    assert (archive / "results" / "digits" / "resnet18" / "seed0" / "run.json").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("snakemake", ".snakemake"),
        ("snakemake -n", ".snakemake"),
        ("paradise prepare", "data/"),
        ("paradise pull", ".dvc/tmp"),
        ("paradise push", ".dvc/tmp"),
        ("paradise crate", "results/digits"),
    ],
)
def test_a_checkout_that_cannot_be_written_is_said_in_a_line(archive, tmp_path, command, said):
    folder = Path(shutil.copytree(archive, tmp_path / "paradise"))
    shutil.rmtree(folder / ".snakemake", ignore_errors=True)
    run("chmod", "-R", "a-w", str(folder), cwd=tmp_path)
    done = run(*NO_RIGHTS, *command.split(), cwd=folder, check=False)
    run("chmod", "-R", "u+w", str(folder), cwd=tmp_path)
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 2 and last.startswith(f"error: {said}") and "cannot be written" in last
    assert "Traceback" not in done.stdout
