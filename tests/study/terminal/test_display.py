"""What a user sees while Snakemake works: with a real Snakemake, piped and on a terminal."""

import logging
import os
import pty
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY, run

from paradise.study.terminal.display import Job, LogHandler

SNAKEFILE = """
rule all:
    message: "All is done"
    input: expand("{row}/metrics.json", row=["a", "b", "c"]),

rule train:
    message: "Training {wildcards.row}"
    output: "{row}/weights",
    log: "logs/train-{row}.log",
    shell:
        "for i in 1 2 3; do echo {wildcards.row}: $i/3 of the work, $((3 - i)) s left; sleep 0.7; done >> {log};"
        " echo '{wildcards.row}: ends' >> {log}; FAIL; touch {output}"

rule evaluate:
    message: "Evaluating {wildcards.row}"
    input: "{row}/weights",
    output: "{row}/metrics.json", "{row}/evaluation.json",
    log: "logs/evaluate-{row}.log",
    shell: "echo '{{\\"fused\\": {{\\"top1\\": 97.5}}}}' > {output[0]} 2> {log}; touch {output[1]}"
"""


def snakemake(folder: Path, fail: str = "true") -> list[str]:
    (folder / "Snakefile").write_text(SNAKEFILE.replace("FAIL", fail))
    where = "--directory", str(folder), "--snakefile", str(folder / "Snakefile")
    return [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "paradise", "--keep-going", *where]


def on_a_terminal(command: list[str]) -> str:
    """What `command` writes to a terminal of 120 columns, as it writes it."""
    seen = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 1024)
        seen.extend(data)
        return data

    os.environ.update(COLUMNS="120", LINES="40", TERM="xterm")
    pty.spawn(command, read)
    return seen.decode(errors="replace")


@pytest.fixture
def piped(tmp_path):
    return lambda *arguments, **options: (
        run(*snakemake(tmp_path, **options), *arguments, cwd=REPOSITORY, check=False).stdout
    )


def test_piped_it_says_in_plain_lines_which_row_of_how_many_and_the_time_left(piped):
    text = piped()
    assert "\x1b" not in text
    assert re.search(r"^7 jobs: .*3 train", text, re.M)
    assert re.search(r"^Training \w \(1 of 3\)$", text, re.M)
    assert re.search(r"^Training \w \(3 of 3\): done in \d s; \d of 7 jobs", text, re.M)
    assert re.search(r"^Training \w \(2 of 3\): done in .* jobs, about \d+ s left$", text, re.M)
    assert text.count("1/3 of the work, 2 s left") == 3
    assert len(re.findall(r"^\w: ends$", text, re.M)) == 3, "what a job says last is shown as well"
    assert re.search(r"^Evaluating \w \(1 of 3\): done in \d s, top-1 97.50 % fused;", text, re.M)
    assert text.rstrip().endswith("All is done")


def test_what_was_done_is_not_done_again_and_is_said(piped):
    piped()
    assert "Nothing to be done" in piped()


def test_a_dry_run_says_what_snakemake_says(piped):
    text = piped("-n")
    assert "Job stats:" in text
    assert "This was a dry-run" in text


def test_a_job_that_fails_is_shown_with_its_log(piped):
    """Each with its last line and its log, at the end of all, and nothing else of Snakemake's on it."""
    text = piped(fail="test {wildcards.row} = b")
    assert re.search(r"^Training a \(\d of 3\): failed$", text, re.M)
    assert text.count("jobs failed, ") == 1
    *_, first, one, log, other, other_log, last = text.splitlines()
    assert first == "2 of 7 jobs failed, 2 are done:"
    said = sorted(re.sub(r"\d of", "", line) for line in (f"{one}{log}", f"{other}{other_log}"))
    assert said == [f"  Training {row} ( 3): {row}: ends    logs/train-{row}.log" for row in "ac"]
    assert last == "Mend that and say the same command again: it goes on from here."
    assert not any(words in text for words in ("RuleException", "Error in rule", "Exiting because", "WorkflowError"))


def test_of_many_failures_the_first_are_listed(capsys):
    handler = LogHandler(SimpleNamespace(dryrun=False), None)
    handler.wanted.update(train=12)
    for number in range(12):
        handler.running[number] = Job("train", f"Training {number}", Path("log"), [], 0)
        handler._fail(number)
    handler._say_failed()
    said = capsys.readouterr().err
    assert "12 of 12 jobs failed, 0 are done:" in said
    assert said.count("it said nothing") == 10 and "  and 2 more\n" in said


def test_on_a_terminal_a_display_shows_jobs_and_what_was_measured(tmp_path):
    text = on_a_terminal(snakemake(tmp_path))
    assert "of 7 jobs" in text
    assert "2/3 of the work, 1 s left" in text
    assert "measured so far, fused:" in text
    assert re.search(r"\w  top-1 97.50 %", text)
    assert "All is done" in text


def test_a_log_is_read_on_from_where_it_was(tmp_path):
    log = tmp_path / "log"
    log.write_text("old\n")
    job = Job("train", "Training", log, [], read=4, file=log.stat().st_ino)
    assert job.said() == []
    with log.open("a") as file:
        file.write("resnet18: 5/10, 12 min left\nhalf a li")
    assert job.said() == ["resnet18: 5/10, 12 min left"]
    assert 719 < job.timed().left <= 720
    with log.open("a") as file:
        file.write("ne, 1 h 05 min left\n")
    assert job.said() == ["half a line, 1 h 05 min left"]
    assert 3899 < job.timed().left <= 3900


def test_a_log_that_was_begun_anew_is_read_from_its_beginning(tmp_path):
    log = tmp_path / "log"
    log.write_text("a line of the run before\n")
    job = Job("train", "Training", log, [], read=25, file=log.stat().st_ino)
    log.rename(tmp_path / "old")
    log.write_text("a line of this run, which is longer than that\n")
    assert job.said() == ["a line of this run, which is longer than that"]
    log.write_text("short\n")
    assert job.said() == ["short"]


def test_time_left_is_said_as_soon_as_a_job_says_its_own():
    handler = LogHandler(SimpleNamespace(dryrun=False), None)
    handler.wanted.update(train=6)
    for number in range(2):
        handler.running[number] = Job("train", "", Path(f"{number}.log"), [], 0, begun=time.monotonic() - 20)
    assert handler._left() == "", "nothing is known yet"
    handler.running[0].last = "resnet18: 1/9, 80 s left"
    # 80 s for each of the two, and 4 times 100 s, two at a time.
    assert handler._left() == ", about 5 min left"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"fused": {"top1": 97.5, "top5": 99}, "trained": {"top1": 1}}', "top-1 97.50 %"),
        ('{"fused": {"ap": 4.25, "ap50": 9}, "trained": {"ap": 1}}', "AP 4.25 %"),
        ('{"fused": {"ap": null, "ap50": null}}', None),
        ('{"fused": {"loss": 1}}', None),
        ('{"trained": {"top1": 97.5}}', None),
        ("{", None),
        (None, None),
    ],
)
def test_what_an_evaluation_measured_of_the_fused_form_is_said(tmp_path, text, said):
    """Of the metrics among the outputs, beside the record, which may not be there."""
    handler = LogHandler(SimpleNamespace(dryrun=False), None)
    folder = tmp_path / "pd_b_resnet18" / "seed0"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "metrics.json").write_text(text)
    outputs = [str(folder / name) for name in ("predictions.csv.xz", "metrics.json", "evaluation.json")]
    assert handler._result(Job("evaluate", "Evaluating", None, outputs, 0)) == (said and f"{said} fused")
    assert handler.measured == ({"pd_b_resnet18/seed0": said} if said else {})
    assert handler._result(Job("train", "Training", None, [str(folder / "run.json")], 0)) is None


def test_messages_of_another_kind_are_shown(capsys):
    handler = LogHandler(SimpleNamespace(dryrun=False), None)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.wanted.update(train=1)
    for level, text in ((logging.INFO, "Select jobs to execute..."), (logging.WARNING, "Beware")):
        handler.emit(logging.LogRecord("snakemake", level, "", 0, text, (), None))
    assert capsys.readouterr().err == "Beware\n"
