"""import_checkpoint: a checkpoint of others as a run of the study."""

from pathlib import Path
from typing import Annotated

import typer

from paradise.study.agreement import check_import
from paradise.study.preset import Preset
from paradise.study.records import Imported
from paradise.study.rows import IMPORTED, Row, Run
from paradise.study.steps import Step, Wildcards, network_modules, row_of
from paradise.study.terminal.options import DIGITS, PresetPath


def entries(row: Row) -> list[str]:
    """The modules that decide what a checkpoint of `row` becomes."""
    return ["paradise.study.checkpoints", *network_modules(row)]


def _checkpoint(preset: Preset, wildcards: Wildcards) -> dict[str, Path]:
    file = Path((preset.checkpoints or {})[wildcards["row"]])
    return {file.name: file}


STEP = Step(
    name="import_checkpoint",
    about="a checkpoint of others as a run",
    schema=Imported,
    record=f"{{results}}/{{row}}/{IMPORTED}/run.json",
    outputs=(f"{{results}}/{{row}}/{IMPORTED}/weights.safetensors",),
    jobs=lambda preset: [{"row": run.row.id} for run in preset.runs if run.seed is None],
    entries=lambda preset, wildcards: entries(row_of(wildcards)),
    inputs=_checkpoint,
    settings=lambda preset, wildcards: {"data": preset.data.evaluated()},
    weights=("weights.safetensors",),
    check=check_import,
)


def command(
    file: Annotated[Path, typer.Argument(help="The authors' .pth.tar, or ResNet weights in torchvision's format.")],
    model: Annotated[str, typer.Option(help="The row that it is of, such as pd_b_resnet18.")],
    preset: PresetPath = DIGITS,
    output: Annotated[Path | None, typer.Option(help="Folder; results/PRESET/MODEL/imported by default.")] = None,
) -> None:
    """Turn a checkpoint of others into a run of the preset: weights.safetensors, run.json."""
    study, run = Preset.load(preset), Run(Row.parse(model), None)
    from paradise.study.checkpoints import import_checkpoint

    import_checkpoint(file, run, study, output or run.folder(study.results))
