"""What Snakemake shows while it works: which row of how many, what its job says, time left, and what has been measured.

A logger plugin of Snakemake. On a terminal a display that is drawn anew, elsewhere plain lines. The jobs write into
their log files alone; what they say is read from there, wherever they run.
"""

import json
import logging
import os
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from paradise.study.terminal.progress import duration
from paradise.study.terminal.time_left import Timed, estimate

LOOK_EVERY = 0.5  # seconds
BESIDE = 80  # columns: on a narrower terminal what a job says stands below its name
LEFT = re.compile(r"(?:(\d+) h )?(\d+) (s|min) left$")
# Of Snakemake's own events: what the display says in other words, or not at all.
REPLACED = {LogEvent.JOB_STARTED, LogEvent.PROGRESS, LogEvent.SHELLCMD, LogEvent.RUN_INFO, LogEvent.RESOURCES_INFO}
# How lines begin that it says in every run, and those on a job that failed, which is said at the end.
NO_NEWS = (
    "Assuming unrestricted shared filesystem usage",
    "Building DAG of jobs",
    "Using shell: ",
    "--keep-incomplete mode is set",
)
OF_FAILURES = ("RuleException:", "Exiting because a job execution failed", "WorkflowError:\nAt least one job did not")
LISTED = 10  # failures; of more, their number
ACCURACIES = {"top1": "top-1", "ap": "AP"}


@dataclass
class Job:
    rule: str
    title: str
    log: Path | None
    outputs: list[str]
    read: int  # bytes of the log
    file: int = 0  # the log's inode: Snakemake may begin a new one
    begun: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    last: str = ""

    def said(self) -> list[str]:
        """The lines that the job has written since this was last called."""
        if self.log is None:
            return []
        try:
            with self.log.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self.file or status.st_size < self.read:
                    self.read, self.file = 0, status.st_ino
                file.seek(self.read)
                new = file.read()
        except OSError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self.read += len(whole)
        lines = whole.decode(errors="replace").splitlines()
        if lines:
            self.heard = time.monotonic()
        self.last = next((line for line in reversed(lines) if line), self.last)
        return lines

    def timed(self) -> Timed:
        """How long the job will have taken, by what it says itself."""
        now = time.monotonic()
        if not (said := LEFT.search(self.last)):
            return Timed(self.rule, str(self.log), now - self.begun, None)
        hours, number, unit = said.groups()
        left = 3600 * int(hours or 0) + int(number) * (60 if unit == "min" else 1) - (now - self.heard)
        return Timed(self.rule, str(self.log), now - self.begun, max(left, 0.0))


class LogHandler(LogHandlerBase):
    """Shows the events of one Snakemake."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self.running: dict[int, Job] = {}
        self.wanted, self.started, self.done = Counter[str](), Counter[str](), Counter[str]()  # jobs by rule
        self.took: list[Timed] = []
        self.measured: dict[str, str] = {}
        self.failed: dict[str, Job] = {}  # by title
        self.live: Live | None = None
        self.lock_display = threading.Lock()
        self.ended = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        event, said = getattr(record, "event", None), record.__dict__
        with self.lock_display:
            if self.common_settings.dryrun:
                self._say(self.format(record))
            elif event == LogEvent.RUN_INFO:
                self._begin(said["stats"])
            elif event == LogEvent.JOB_INFO:
                self._start(said)
            elif event == LogEvent.JOB_FINISHED:
                self._finish(said["job_id"])
            elif event == LogEvent.JOB_ERROR and said["jobid"] in self.running:
                self._fail(said["jobid"])
            elif event not in REPLACED and (record.levelno >= logging.WARNING or not self.wanted):
                told = NO_NEWS + OF_FAILURES if self.wanted else NO_NEWS
                self._say("" if record.getMessage().startswith(told) else self.format(record))
            if self.live:
                self.live.update(self._picture(), refresh=True)

    def close(self) -> None:
        if self.ended.is_set():  # Snakemake closes it, and Python's logging at the end once more
            return
        self.ended.set()
        if self.watcher.is_alive():
            self.watcher.join()
        if self.live:
            self.live.stop()
        self._say_failed()
        super().close()

    def _begin(self, stats: dict[str, int]) -> None:
        self.wanted = Counter({rule: count for rule, count in stats.items() if rule != "total"})
        jobs = f"{self.wanted.total()} job{'s' * (self.wanted.total() != 1)}"
        self._say(f"{jobs}: {', '.join(f'{n} {rule}' for rule, n in self.wanted.items())}")
        if self.console.is_terminal:
            self.live = Live(self._picture(), console=self.console, transient=True, auto_refresh=False)
            self.live.start()
        self.watcher.start()

    def _start(self, said: dict[str, Any]) -> None:
        rule = said["rule_name"]
        self.started[rule] += 1
        log = Path(said["log"][0]) if said["log"] else None
        of = f" ({self.started[rule]} of {self.wanted[rule]})" if self.wanted[rule] > 1 else ""
        title = f"{said['rule_msg'] or rule}{of}"
        # Where a job goes on in its log, what it said before is no news.
        known = log.stat() if log and log.exists() and rule.startswith("train") else None
        if known and known.st_mtime >= said["created"]:
            known = None  # written by this job already
        read, file = (known.st_size, known.st_ino) if known else (0, 0)
        self.running[said["jobid"]] = Job(rule, title, log, list(said["output"]), read, file)
        if not self.live or log is None:
            self._say(title)

    def _finish(self, number: int) -> None:
        if (job := self.running.pop(number, None)) is None:
            return
        self._show(job)
        self.done[job.rule] += 1
        seconds = time.monotonic() - job.begun
        self.took.append(Timed(job.rule, str(job.log), seconds, 0.0))
        if job.log is None:
            return
        result = self._result(job)
        said = f"{job.title}: done in {duration(seconds)}{f', {result}' if result else ''}"
        self._say(f"{said}; {self.done.total()} of {self.wanted.total()} jobs{self._left()}")

    def _fail(self, number: int) -> None:
        job = self.running.pop(number)
        self._show(job)
        self.failed[job.title] = job
        self._say(f"{job.title}: failed")

    def _say_failed(self) -> None:
        """What failed and why, as the last lines of all."""
        if not self.failed:
            return
        jobs = f"{len(self.failed)} of {self.wanted.total()} jobs failed, {self.done.total()} are done:"
        lines = [f"  {title}: {job.last or 'it said nothing'}\n    {job.log}" for title, job in self.failed.items()]
        more = [f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        again = "Mend that and say the same command again: it goes on from here."
        self._say("\n".join(["", jobs, *lines[:LISTED], *more, again]))

    def _result(self, job: Job) -> str | None:
        """What an evaluation measured of the fused form, in words."""
        path = next((Path(output) for output in job.outputs if output.endswith("/metrics.json")), None)
        if path is None:
            return None
        try:
            fused = json.loads(path.read_text())["fused"]
            key = next(key for key in ACCURACIES if fused.get(key) is not None)
        except (OSError, ValueError, LookupError, StopIteration):
            return None
        self.measured["/".join(path.parts[-3:-1])] = value = f"{ACCURACIES[key]} {fused[key]:.2f} %"
        return f"{value} fused"

    def _left(self) -> str:
        seconds = estimate(self.wanted, self.took, [job.timed() for job in self.running.values()])
        return f", about {duration(seconds)} left" if seconds is not None and seconds >= 1 else ""

    def _watch(self) -> None:
        while not self.ended.wait(LOOK_EVERY):
            with self.lock_display:
                for job in self.running.values():
                    self._show(job)
                if self.live:
                    self.live.update(self._picture(), refresh=True)

    def _show(self, job: Job) -> None:
        """What the job has said: as its last line in the display, or all of it as lines."""
        lines = job.said()
        if not self.live:
            for line in lines:
                self._say(line)

    def _say(self, text: str) -> None:
        if text:
            with suppress(OSError):  # a full disk below what is shown ends no run
                self.console.print(text)

    def _picture(self) -> Group:
        total, done = self.wanted.total(), self.done.total()
        words = f" {done} of {total} jobs{self._left()}"
        width = max(min(30, self.console.width - len(words)), 0)
        filled = round(width * done / max(total, 1))
        parts: list[RenderableType] = [Text(f"{'━' * filled}{'╌' * (width - filled)}{words}", "bold")]
        jobs = Table.grid(padding=(0, 2))
        for job in self.running.values():
            title, status = Text(job.title), Text(job.last.partition(": ")[2] or job.last, "dim")
            if self.console.width >= BESIDE:
                jobs.add_row(title, status)
            else:
                jobs.add_row(title)
                jobs.add_row(status)
        parts.append(jobs)
        if self.measured:
            columns = max(self.console.width // 52, 1)
            grid = Table.grid(padding=(0, 1))
            cells = [Text(f"{row}  {value}", overflow="ellipsis") for row, value in self.measured.items()]
            for first in range(0, len(cells), columns):
                grid.add_row(*cells[first : first + columns])
            parts += [Text("measured so far, fused:", "bold"), grid]
        return Group(*parts)
