"""crate: the study as a research object."""

import sys

from paradise.study.preset import Preset
from paradise.study.records import View
from paradise.study.steps import Step, view_modules
from paradise.study.steps.report import STEP as REPORT
from paradise.study.terminal.options import DIGITS, PresetPath

STEP = Step(
    name="crate",
    about="workflow, records, tables and report as a Workflow Run RO-Crate",
    schema=View,
    record="{results}/crate.json",
    outputs=("{results}/study.crate.zip",),
    jobs=lambda preset: [],  # not a part of the study as it is shared
    entries=lambda preset, wildcards: ["paradise.study.crate", *view_modules(preset)],
    inputs=lambda preset, wildcards: REPORT.job(preset).inputs,
    waits_for=lambda preset, wildcards: [REPORT.job(preset).record],
    settings=lambda preset, wildcards: preset.values(),
    packages=(),
    view=True,
)


def command(preset: PresetPath = DIGITS) -> None:
    """Pack workflow, records, tables and report of a preset as a Workflow Run RO-Crate: study.crate.zip."""
    study = Preset.load(preset)
    from paradise.study.crate import write_crate

    print(write_crate(study), file=sys.stderr)
