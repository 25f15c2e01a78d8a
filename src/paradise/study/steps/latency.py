"""latency: CPU latency of the first table's models, fused."""

from typing import Annotated

import typer

from paradise.study.preset import Preset
from paradise.study.records import Latencies
from paradise.study.rows import Row
from paradise.study.steps import Step, network_modules
from paradise.study.terminal.options import DIGITS, Models, Output, PresetPath


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
)


def command(
    models: Models = None,
    preset: PresetPath = DIGITS,
    output: Output = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Timed runs of every model; the preset's by default.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; the preset's by default.")] = None,
) -> None:
    """Time the fused models on the CPU (1000 classes, 224×224, batch 1), interleaved."""
    rows = [Row.parse(name) for name in models or ()]
    study = Preset.load(preset)
    from paradise.study.profiling.latency import write_latency

    rounds, threads = rounds or study.latency.rounds, threads or study.latency.threads
    write_latency(rows or study.models, rounds, threads, study.name, output or STEP.job(study).record)
