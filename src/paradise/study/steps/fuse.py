"""fuse: a run's weights as used at inference."""

from paradise.study.preset import Preset
from paradise.study.records import Fused
from paradise.study.rows import Row
from paradise.study.steps import Step, network_modules, row_of, run_from, weights_of
from paradise.study.terminal.options import RunFolder


def entries(row: Row) -> list[str]:
    """The modules that decide what the fused form of `row` is."""
    return ["paradise.study.runs", *network_modules(row)]


def runs(preset: Preset) -> list[dict[str, str]]:
    """The wildcards of every run, checkpoints of others included."""
    return [{"row": run.row.id, "run": run.name} for run in preset.runs]


STEP = Step(
    name="fuse",
    about="its weights as used at inference",
    schema=Fused,
    record="{results}/{row}/{run}/fused.json",
    outputs=("{results}/{row}/{run}/fused.safetensors",),
    jobs=runs,
    entries=lambda preset, wildcards: entries(row_of(wildcards)),
    inputs=lambda preset, wildcards: {"weights.safetensors": weights_of(preset, run_from(wildcards))},
    waits_for=lambda preset, wildcards: [run_from(wildcards).folder(preset.results) / "run.json"],
    weights=("fused.safetensors",),
)


def command(folder: RunFolder) -> None:
    """Fuse the trained weights of a folder: fused.safetensors, fused.json."""
    from paradise.study.runs import write_fused

    write_fused(folder)
