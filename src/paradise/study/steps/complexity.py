"""complexity: parameters and operations of the first table's models."""

from paradise.study.agreement import check_complexity
from paradise.study.preset import Preset
from paradise.study.records import Complexity
from paradise.study.rows import Row
from paradise.study.steps import Step, network_modules
from paradise.study.terminal.options import DIGITS, Models, Output, PresetPath


def entries(models: list[Row]) -> list[str]:
    """The modules that decide what is counted of `models`."""
    return ["paradise.study.profiling.complexity", *network_modules(*models)]


STEP = Step(
    name="complexity",
    about="parameters and operations of the first table's models",
    schema=Complexity,
    record="{results}/profile/complexity.json",
    entries=lambda preset, wildcards: entries(preset.models),
    settings=lambda preset, wildcards: {"models": [row.id for row in preset.models]},
    check=check_complexity,
)


def command(models: Models = None, preset: PresetPath = DIGITS, output: Output = None) -> None:
    """Count parameters and operations of models (1000 classes, 224×224)."""
    rows = [Row.parse(name) for name in models or ()]
    if not rows or output is None:
        study = Preset.load(preset)
        rows, output = rows or study.models, output or STEP.job(study).record
    from paradise.study.profiling.complexity import write_complexity

    write_complexity(rows, preset.stem, output)
