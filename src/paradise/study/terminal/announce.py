"""What Snakemake says of a study's results before it begins."""

import sys

from paradise.study.stale import Survey


def announce(survey: Survey) -> None:
    """Says which results are made again, and how many are of other code, where there are such."""
    again = [job for job in survey.to_do_again() if not job.step.view]
    for job in again:
        own = [reason for reason in survey.refused(job) if reason.job == str(job)]
        if own:
            print(f"{job} is made again: {'; '.join(map(str, own))}", file=sys.stderr)
    marked = [job for job in survey.jobs.values() if not survey.missing(job) and survey.marks(job)]
    marked = [job for job in marked if not survey.refused(job)]
    if marked:
        print(
            f"{len(marked)} results are of other code or versions, and are kept and marked; "
            f"`paradise status --preset {survey.preset.path}` says which",
            file=sys.stderr,
        )
