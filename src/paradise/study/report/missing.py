"""What of a study is not here or not shown, and the commands that make it."""

import shlex

from paradise.study.notes import reasons_text
from paradise.study.preset import Preset
from paradise.study.results import Study
from paradise.study.steps import Job
from paradise.study.terminal.options import DIGITS


def list_missing(study: Study) -> list[tuple[str, str]]:
    """What was not measured: what it is, and the command that makes it with all that it needs."""
    jobs = study.survey.jobs.values()
    missing = [job for job in jobs if not job.step.local and not job.step.view and study.survey.missing(job)]
    needed = {path for job in missing for path in job.needs}
    last = [job for job in missing if needed.isdisjoint(job.outputs)]
    return [(f"{job.place} ({job.step.about})", _command(job, study.preset)) for job in last]


def list_refused(study: Study, damaged: bool) -> list[tuple[str, list[str]]]:
    """What is here and not shown, of all that was asked for.

    Args:
        study: Whose results they are.
        damaged: Whether to list what is damaged, or what is of other settings, data or files.

    Returns:
        The reasons, each with the jobs whose results they keep back.
    """
    jobs: dict[str, list[str]] = {}
    for job, reasons in study.refused.items():
        if damaged == any(reason.kind == "damaged" for reason in reasons):
            jobs.setdefault(reasons_text(reasons), []).append(job)
    return list(jobs.items())


def _command(job: Job, preset: Preset) -> str:
    configured = [] if preset.path == DIGITS else ["--configfile", str(preset.path)]
    return shlex.join(["snakemake", str(job.record), *configured])
