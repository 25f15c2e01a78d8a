"""latency: CPU latency of the first table's models, fused."""

from typing import Annotated

import typer

from paradise.study.agreement import check_latency
from paradise.study.preset import Preset
from paradise.study.records import Latencies
from paradise.study.rows import Row
from paradise.study.steps import Step, network_modules
from paradise.study.terminal.options import DIGITS, Models, Output, PresetPath

NAMED = (100, 1)  # rounds and threads for models that are named


def entries(models: list[Row]) -> list[str]:
    """The modules that decide what is timed of `models`."""
    return ["paradise.study.profiling.latency", *network_modules(*models, *(row.plain for row in models))]


def settings(models: list[Row], rounds: int, threads: int) -> dict:
    """What a record of timings says of how they were taken."""
    return {"models": [row.id for row in models], "rounds": rounds, "threads": threads}


STEP = Step(
    name="latency",
    about="CPU latency of the first table's models, fused",
    schema=Latencies,
    record="{results}/profile/latency.json",
    entries=lambda preset, wildcards: entries(preset.models),
    settings=lambda preset, wildcards: settings(preset.models, preset.latency.rounds, preset.latency.threads),
    check=check_latency,
)


def command(
    models: Models = None,
    preset: PresetPath = DIGITS,
    output: Output = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Timed runs of every model; the preset's, or 100 of models that are named."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor threads; the preset's, or 1 for models that are named.")
    ] = None,
) -> None:
    """Time the fused models on the CPU (1000 classes, 224×224, batch 1), interleaved."""
    rows, defaults = [Row.parse(name) for name in models or ()], NAMED
    if not rows or output is None:
        study = Preset.load(preset)
        defaults = defaults if rows else (study.latency.rounds, study.latency.threads)
        rows, output = rows or study.models, output or STEP.job(study).record
    from paradise.study.profiling.latency import write_latency

    write_latency(rows, rounds or defaults[0], threads or defaults[1], preset.stem, output)
