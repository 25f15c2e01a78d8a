"""The checks of `make lint`: what is run before a commit, and what is heard of `snakemake --lint`."""

import subprocess
import sys
from pathlib import Path

import yaml
from conftest import REPOSITORY


def test_make_lint_runs_what_is_run_before_a_commit():
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lines = (REPOSITORY / "Makefile").read_text().splitlines()
    recipe = lines[lines.index("lint: setup") + 1 :]
    commands = [line.removeprefix("\t@") for line in recipe if line.startswith("\t@")]
    assert commands == [hook["entry"] for hook in hooks]


def lint(folder: Path, snakefile: str) -> subprocess.CompletedProcess:
    (folder / "Snakefile").write_text(snakefile)
    script = REPOSITORY / "workflow" / "lint.py"
    return subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True)


def test_remarks_that_the_workflow_does_not_follow_are_left_out(tmp_path):
    rule = 'rule greet:\n    output: "hello"\n    log: "log"\n    shell: "touch {output} > {log}"\n'
    done = lint(tmp_path, rule)
    assert (done.returncode, done.stdout, done.stderr) == (0, "snakemake --lint: nothing to remark\n", "")


def test_other_remarks_are_told_with_their_place(tmp_path):
    done = lint(tmp_path, 'rule greet:\n    output: "hello"\n    shell: "touch {output}"\n')
    assert done.returncode == 1
    assert done.stdout == f"rule greet (line 1, {tmp_path}/Snakefile): No log directive defined:\n"


def test_a_workflow_that_cannot_be_read_is_told(tmp_path):
    done = lint(tmp_path, "rule greet:\n    colour: 1\n")
    assert done.returncode == 1
    assert "colour" in done.stdout
