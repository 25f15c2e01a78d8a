"""What Snakemake is told of a study's results: which jobs are at work in this run, and so go by their inputs.

Files' times mean nothing: a checkout sets them as it likes. So a job whose result is there and may be shown does not
look at its inputs' times. One whose result must not be shown waits for a file that is newer, which says why.
"""

import hashlib
import time
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from paradise.errors import UserError
from paradise.study.files import write_text
from paradise.study.preset import Preset
from paradise.study.stale import Survey
from paradise.study.steps import Job

MARKS = Path(".snakemake/stale")
SPECIAL = "{}'\"`\\"  # in a path: placeholders, and quotes, which what jobs of a cluster are told does not survive


def check_path(preset: Preset) -> None:
    """Raises UserError where Snakemake, DVC or a shell would take a preset's path apart.

    The folders that it names were looked at when it was read.
    """
    path = str(preset.path)
    if wrong := [character for character in path if character in SPECIAL or not character.isprintable()]:
        raise UserError(f"the path {path!r} has {wrong[0]!r} in it, which Snakemake takes for its own; rename it")


class Schedule:
    """The jobs of one run of Snakemake.

    Args:
        survey: The study's results.
        forced: Names of rules and files that the user wants made again.
        everything: Whether the user wants all made again.
    """

    def __init__(self, survey: Survey, forced: Collection[str] = (), everything: bool = False):
        self.survey = survey
        self.stale = mark_stale(survey)
        names = set(map(str, forced))
        self.live = {
            job.record
            for job in survey.jobs.values()
            if everything or job.record in self.stale or _is_forced(job, names) or _is_missing(survey, job)
        }
        # What follows from a job that is at work is at work as well.
        order = [job for job in survey.jobs.values() if job.record not in self.live]
        while follow := [job for job in order if self._follows(job)]:
            self.live |= {job.record for job in follow}
            order = [job for job in order if job.record not in self.live]

    def is_live(self, job: Job) -> bool:
        """Whether a job goes by its inputs in this run; one of another study does."""
        return job.record in self.live or job.record not in self.survey.jobs

    def needs(self, job: Job) -> list[str]:
        """The files that a job waits for, the one that says why it is stale among them."""
        return [*self.made_from(job), *self.stale.get(job.record, [])]

    def made_from(self, job: Job) -> list[str]:
        """The files that a job is made from: of those that cannot be made here, the ones that are here."""
        return [str(path) for path in job.needs if path.exists() or self._can_be_made(path)]

    def _follows(self, job: Job) -> bool:
        makers = (self.survey.makers.get(path) for path in (*job.needs, *job.inputs.values()))
        return any(maker is not None and maker.record in self.live for maker in makers)

    def _can_be_made(self, path: Path) -> bool:
        maker = self.survey.makers.get(path)
        if maker is None or not maker.step.view:
            return maker is None or all(find_spec(package) for package in maker.step.imports)
        # A table with nothing to show is not made.
        shown = [file for file in maker.inputs.values() if file in self.survey.makers]
        return not shown or any(file.exists() or self._can_be_made(file) for file in shown)


def mark_stale(survey: Survey) -> dict[Path, list[str]]:
    """Files that are newer than the results which must not be shown, one for each, by the result's record.

    Each says why; its content is another each time, since Snakemake goes by content where it has seen a file before.
    """
    marks = {}
    for job in survey.to_do_again():
        path = MARKS / f"{hashlib.sha256(str(job.record).encode()).hexdigest()[:16]}.txt"
        reasons = "\n".join(map(str, survey.refused(job)))
        write_text(path, f"{job}\n{reasons}\n{time.time_ns()}\n")
        marks[job.record] = [str(path)]
    return marks


def _is_forced(job: Job, forced: set[str]) -> bool:
    return job.step.name in forced or any(str(path) in forced for path in job.outputs)


def _is_missing(survey: Survey, job: Job) -> bool:
    """Whether a job's result is to be made for the first time; data that are not here may not be needed at all."""
    return survey.missing(job) and not job.step.local
