"""What of a study is not here or not shown, and the commands that make it."""

from collections.abc import Iterable

from paradise.study.notes import reasons_text
from paradise.study.preset import Preset
from paradise.study.results import Study
from paradise.study.stale import Reason
from paradise.study.steps import Job
from paradise.study.terminal.options import DIGITS


def list_missing(study: Study) -> list[tuple[str, str]]:
    """What was not measured: what it is, and the command that makes it with all that it needs."""
    jobs = study.survey.jobs.values()
    missing = [job for job in jobs if not job.step.local and not job.step.view and study.survey.missing(job)]
    needed = {path for job in missing for path in job.needs}
    last = [job for job in missing if needed.isdisjoint(job.outputs)]
    return [(f"{job.place} ({job.step.about})", _command(job, study.preset)) for job in last]


def list_refused(study: Study) -> tuple[list[tuple[str, list[str]]], list[tuple[str, list[str]]]]:
    """What is here and not shown, of all that was asked for: what is damaged, and what is of other settings or data.

    Returns:
        Of each the reasons, with the jobs that they are of.
    """
    damaged: dict[str, str] = {}
    other: dict[str, str] = {}
    for reasons in study.refused.values():
        for job, of in _by_job(reasons).items():
            kinds = {reason.kind for reason in of}
            (damaged if "damaged" in kinds else other)[job] = reasons_text(of)
    return _by_text(damaged), _by_text(other)


def _command(job: Job, preset: Preset) -> str:
    configured = "" if preset.path == DIGITS else f" --configfile {preset.path}"
    return f"snakemake {job.record}{configured}"


def _by_job(reasons: Iterable[Reason]) -> dict[str, list[Reason]]:
    """Reasons by the job that they are of, and not by what was made of what it made."""
    by_job: dict[str, list[Reason]] = {}
    for reason in reasons:
        by_job.setdefault(reason.job, []).append(reason)
    return by_job


def _by_text(said: dict[str, str]) -> list[tuple[str, list[str]]]:
    jobs: dict[str, list[str]] = {}
    for job, text in said.items():
        jobs.setdefault(text, []).append(job)
    return list(jobs.items())
