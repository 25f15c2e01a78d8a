"""One Snakemake at a time in a checkout, and none beside jobs that an earlier one left at work.

A lock that the system frees when its owner ends, however it does, takes the place of Snakemake's own, which stays after
a kill. Every job has the lock's file open, so that those which outlive their Snakemake are found.
"""

import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from paradise.errors import UserError
from paradise.study.files import locked, write_text
from paradise.study.preset import CLAIM, Preset
from paradise.study.stale import Survey

LOCK = Path(".snakemake/paradise.lock")
DESCRIPTOR = 9
# What each job's shell begins with; on another machine there may be no lock.
PREFIX = f"set -euo pipefail; [ ! -w {LOCK} ] || exec {DESCRIPTOR}>>{LOCK}; "
LOOK_EVERY = 0.5  # seconds

_lock = FileLock(LOCK)  # held until this process ends


def begin_session(survey: Survey, dry: bool) -> None:
    """Makes this process the one Snakemake that works here, once the jobs that earlier ones left have ended.

    Where it waited for any it starts itself again: what was found out of results before need not be so any more.

    Args:
        survey: The study's results.
        dry: Whether it runs nothing, and so may look on while another works.

    Raises:
        UserError: Another Snakemake is at work here, or the folder cannot be written.
    """
    try:
        LOCK.parent.mkdir(exist_ok=True)
        if dry:
            LOCK.touch()
            return
        _lock.acquire(blocking=False)
    except Timeout:
        raise UserError("another snakemake is at work in this folder; wait until it ends") from None
    except OSError as error:
        raise UserError(f"{LOCK.parent} cannot be written: {error.strerror or error}") from None
    if _wait_for_jobs():
        sys.stderr.flush()
        os.execv(sys.executable, sys.orig_argv)
    _remove_states(survey)


def claim_results(preset: Preset) -> None:
    """Writes into a study's results which preset they are of, so that no other of its name takes them for its own."""
    write_text(preset.results / CLAIM, f"{preset.path}\n")


def _wait_for_jobs() -> bool:
    """Waits for the jobs that are still at work, and names each once; says whether there were any."""
    named: set[int] = set()
    while jobs := _jobs():
        for number, words in jobs.items():
            if number not in named and words:
                print(
                    f"waiting for `{words}`, which an earlier snakemake left at work; "
                    f"`kill {number}` ends it, and a training then goes on from there",
                    file=sys.stderr,
                )
        named |= jobs.keys()
        time.sleep(LOOK_EVERY)
    return bool(named)


def _jobs() -> dict[int, str]:
    """The processes of jobs, with the command of those that are a `paradise`."""
    lock, jobs = LOCK.stat(), dict[int, str]()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is another user's
            if os.path.samestat((process / "fd" / str(DESCRIPTOR)).stat(), lock):
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                own = len(words) > 1 and Path(words[1]).name == "paradise"
                jobs[int(process.name)] = " ".join(["paradise", *words[2:]]).rstrip() if own else ""
    return jobs


def _remove_states(survey: Survey) -> None:
    """Removes what is left of states where a run was killed after its results were whole."""
    for job in survey.jobs.values():
        folder = job.record.parent / "state"
        if job.record.name == "run.json" and folder.is_dir() and not survey.missing(job) and not survey.refused(job):
            with suppress(UserError), locked(folder / ".lock", "at work"):
                shutil.rmtree(folder)
