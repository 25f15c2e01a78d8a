"""What of a study is there, missing, marked or to be made again, in lines, with equal reasons as one line."""

import shlex
from collections.abc import Iterable

from paradise.study.records import Measurement
from paradise.study.stale import Reason, Survey
from paradise.study.steps import Job
from paradise.study.terminal.options import DIGITS

LISTED = 3  # as many names are written out; of more, their number
EVIDENCE = ("make_evidence", "train_start")  # steps that `snakemake` alone does not run


def describe(survey: Survey) -> list[str]:
    """All that `paradise status` says of a study."""
    there = [job for job in survey.jobs.values() if not survey.missing(job)]
    current = [job for job in there if not survey.why_stale(job)]
    all_jobs = len(there) + len(missing_jobs(survey))
    first = f"{survey.preset.results}: {len(current)} of {all_jobs} results are what {survey.preset.path} makes today"
    return [first, *describe_missing(survey), *describe_stale(survey)]


def describe_missing(survey: Survey) -> list[str]:
    """Which results are not here, and the command that makes them."""
    missing = missing_jobs(survey)
    if not missing:
        return []
    steps: dict[str, list[Job]] = {}
    for job in missing:
        steps.setdefault(job.step.name, []).append(job)
    return [
        f"{len(missing)} not here; {_command(survey, missing)} makes them:",
        *(f"  {name_jobs(jobs)}" for jobs in steps.values()),
    ]


def describe_stale(survey: Survey) -> list[str]:
    """Which results would be others today, why, and the commands that make them again."""
    lines = []
    if refused := survey.to_do_again():
        lines.append(f"{len(refused)} to be computed again, by {_command(survey, refused)}:")
        lines += group_reasons(survey, map(survey.refused, refused))
    if marked := marked_jobs(survey):
        lines.append(f"{len(marked)} of other code or versions, kept and marked:")
        lines += group_reasons(survey, map(survey.marks, marked))
        files = f"$(paradise status --files{_option(survey, '--preset')})"
        again = f"snakemake --forcerun {files}{_option(survey, '--configfile')}"
        lines.append(f"to compute the marked ones again: `{again}`")
    return lines


def marked_jobs(survey: Survey) -> list[Job]:
    """The jobs whose results are shown and marked."""
    there = (job for job in survey.jobs.values() if not survey.missing(job) and not survey.refused(job))
    return [job for job in there if survey.marks(job)]


def jobs_to_mend(survey: Survey) -> list[Job]:
    """The jobs in which the marks lie: once these are done again, what follows from them is right or is refused."""
    return [job for job in marked_jobs(survey) if any(reason.job == str(job) for reason in survey.marks(job))]


def missing_jobs(survey: Survey) -> list[Job]:
    """The jobs that left nothing; evidence where the preset has a section `evidence`."""
    missing = [job for job in survey.jobs.values() if survey.missing(job)]
    return [job for job in missing if survey.preset.evidence or job.step.name not in EVIDENCE]


def group_reasons(survey: Survey, reasons: Iterable[tuple[Reason, ...]]) -> list[str]:
    """Reasons as lines, with those of one step that say the same as one: "train, 19 rows, seed 0: momentum changed".

    Args:
        survey: Whose they are.
        reasons: Those of each job. Of a table's or the report's, the first is enough: it is made again in seconds.
    """
    jobs = {str(job): job for job in survey.jobs.values()}
    said = dict.fromkeys(one for of_job in reasons for one in (of_job[:1] if jobs[of_job[0].job].step.view else of_job))
    groups: dict[tuple[str, str, bool], list[Job]] = {}
    for reason in said:
        job = jobs[reason.job]
        text = "not here" if reason.kind == "missing" else reason.text.replace(f"{job.record.parent}/", "")
        groups.setdefault((job.step.name, text, reason.marks), []).append(job)
    return [
        f"  {name_jobs(group)}: {text}{_commits(survey, group) if marks else ''}"
        for (_, text, marks), group in groups.items()
    ]


def name_jobs(jobs: list[Job]) -> str:
    """Jobs of one step in words: "train, 19 rows, seeds 0, 1"."""
    if len(jobs) == 1:
        return str(jobs[0])
    words, product = [jobs[0].step.name], 1
    for key in jobs[0].wildcards:
        values = list(dict.fromkeys(job.wildcards[key] for job in jobs))
        product *= len(values)
        plural = f"{key}s" if len(values) > 1 else key
        words.append(f"{len(values)} {plural}" if len(values) > LISTED else f"{plural} {', '.join(values)}")
    return ", ".join(words) + (f" ({len(jobs)} of {product})" if len(jobs) < product else "")


def _commits(survey: Survey, jobs: list[Job]) -> str:
    records = (survey.record(job) for job in jobs)
    commits = list(dict.fromkeys(record.short_commit for record in records if isinstance(record, Measurement)))
    if not commits:
        return ""
    more = f" and {len(commits) - LISTED} more" if len(commits) > LISTED else ""
    return f" ({'commit' if len(commits) == 1 else 'commits'} {', '.join(commits[:LISTED])}{more})"


def _command(survey: Survey, jobs: list[Job]) -> str:
    """The call of Snakemake that makes `jobs`, in backquotes."""
    targets = " all evidence" if any(job.step.name in EVIDENCE for job in jobs) else ""
    return f"`snakemake{targets}{_option(survey, '--configfile')}`"


def _option(survey: Survey, option: str) -> str:
    path = survey.preset.path
    return "" if path == DIGITS else f" {option} {shlex.quote(str(path))}"
