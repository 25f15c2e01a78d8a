"""How long work shows itself: a bar on a terminal; elsewhere, in a log file say, plain lines."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY = 30.0  # seconds, where there is no terminal


class Reporter:
    """Counts steps of `title` up to `total`; made by `reporting`."""

    def __init__(self, console: Console, bar: Progress, title: str, total: int, done: int):
        self.console, self.bar, self.title, self.total = console, bar, title, total
        self.task = bar.add_task(title, total=total, completed=done, status="")
        self.started = self.shown = time.monotonic()
        self.done = self.before = done

    def step(self, status: str = "", steps: int = 1) -> None:
        """So many steps more; `status` is what to say of them."""
        self.done += steps
        self.bar.update(self.task, advance=steps, status=status)
        now = time.monotonic()
        if not self.console.is_terminal and now - self.shown > LINE_EVERY:
            self.say(f"{self.done}/{self.total} {status}".rstrip())

    def say(self, text: str) -> None:
        """A line that stays, with the time left."""
        self.shown = time.monotonic()
        left = (self.shown - self.started) / max(self.done - self.before, 1) * (self.total - self.done)
        with suppress(OSError):  # a full disk below a log ends no training
            self.console.print(f"{self.title}: {text}{f', {duration(left)} left' if left >= 1 else ''}", soft_wrap=True)


@contextmanager
def reporting(title: str, total: int, done: int = 0, silent: bool = False) -> Iterator[Reporter]:
    """Work of `total` steps, of which `done` were done before."""
    console = Console(stderr=True, highlight=False, markup=False, quiet=silent)
    texts = TextColumn("{task.description}"), TextColumn("{task.fields[status]}")
    columns = texts[0], BarColumn(bar_width=20), MofNCompleteColumn(), texts[1], TimeRemainingColumn()
    shown = console.is_terminal and not silent
    bar = Progress(*columns, console=console, transient=True, disable=not shown)
    with bar if shown else nullcontext():  # where it ends, rich's older versions write an empty line
        yield Reporter(console, bar, title, total, done)
        with suppress(OSError):
            sys.stderr.flush()


def duration(seconds: float) -> str:
    """`"45 s"`, `"12 min"` or `"3 h 05 min"`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
