"""report: all of a study as one page."""

import sys
from pathlib import Path

from paradise.study.preset import Preset
from paradise.study.records import View
from paradise.study.registry import EVIDENCE
from paradise.study.steps import Step, Wildcards, view_modules
from paradise.study.steps.make_evidence import STEP as EVIDENCE_STEP
from paradise.study.steps.table import STEP as TABLE
from paradise.study.terminal.options import DIGITS, PresetPath


def _entries(preset: Preset, wildcards: Wildcards) -> list[str]:
    shows = [piece.shown_by for piece in EVIDENCE.all().values()]
    return ["paradise.study.report", *view_modules(preset), *shows]


def _inputs(preset: Preset, wildcards: Wildcards) -> dict[str, Path]:
    """What its tables show, and the evidence that has been made."""
    shown = {name: path for job in TABLE.of(preset) for name, path in job.inputs.items()}
    made = [job.record for job in EVIDENCE_STEP.of(preset) if job.record.exists()]
    return shown | {path.relative_to(preset.results).as_posix(): path for path in made}


STEP = Step(
    name="report",
    about="the whole study as one page",
    schema=View,
    record="{results}/report.json",
    outputs=("{results}/report.html",),
    entries=_entries,
    inputs=_inputs,
    waits_for=lambda preset, wildcards: [job.record for job in TABLE.of(preset)],
    settings=lambda preset, wildcards: preset.values(),
    packages=(),
    view=True,
    in_git=("report.html",),
)


def command(preset: PresetPath = DIGITS) -> None:
    """Write report.html and figures/ of a preset from what has been measured so far."""
    study = Preset.load(preset)
    from paradise.study.report import write_report

    write_report(study)
    print(study.results / "report.html", file=sys.stderr)
