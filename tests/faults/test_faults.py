"""One try of each kind that `make faults` tries often."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Project, end_snakemake, print_into, run_in, run_two
from conftest import REPOSITORY
from try_faults import PAGE, TITLES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def test_killed_trainings_end_in_the_same_weights():
    """Of both loaders, with one process and with two. In a process of its own, which forks."""
    script = str(Path(__file__).with_name("try_faults.py"))
    done = subprocess.run(
        [sys.executable, script, "kills", "--tries", "4", "--show"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills: 4 tried, 0 faults" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_training_outlives_its_snakemake_and_is_not_done_again(project, number):
    assert end_snakemake(project, random.Random(1), number) == []


def test_two_commands_at_once(project):
    assert run_two(project, random.Random(1), "prepare and prepare") == []


@pytest.mark.parametrize("environment", ["a HOME that is none", "a TMPDIR that cannot be written", "another encoding"])
def test_another_environment(project, environment):
    assert run_in(project, environment, "snakemake") == []


def test_an_output_that_takes_nothing(project):
    assert print_into(project, "status") == []


def test_the_page_has_a_row_for_each_kind():
    text = PAGE.read_text(encoding="utf-8")
    assert all(text.count(f"| {title} |") == 1 for title in TITLES.values())
