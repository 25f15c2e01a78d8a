"""status: what of a study is there, missing, marked or to be made again."""

from typing import Annotated

import typer

from paradise.study.preset import Preset
from paradise.study.terminal.options import DIGITS, PresetPath


def command(
    preset: PresetPath = DIGITS,
    files: Annotated[bool, typer.Option("--files", help="Only list the records that are marked.")] = False,
) -> None:
    """Say what of a preset's results is there, missing, marked or to be computed again, and why."""
    study = Preset.load(preset)
    from paradise.study.stale import Survey
    from paradise.study.terminal.summary import describe, jobs_to_mend

    survey = Survey(study)
    for line in [str(job.record) for job in jobs_to_mend(survey)] if files else describe(survey):
        print(line)
