"""detection config: a row's configuration as a file for mmdetection's own tools."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from paradise.study.preset import Preset
from paradise.study.terminal.options import DIGITS, PresetPath, detector_named, require_mmdetection


def command(
    row: Annotated[str, typer.Argument(help="A row, such as retinanet-pd_b_resnet50.")],
    preset: PresetPath = DIGITS,
    output: Annotated[Path | None, typer.Option(help="The Python file to write; ROW.py by default.")] = None,
) -> None:
    """Write a row's configuration, by which mmdetection's own tools train it as the preset says."""
    study = Preset.load(preset)
    wanted = detector_named(row, study)
    require_mmdetection()
    from paradise.study.detection.config import write_config

    path = output or Path(f"{row}.py")
    write_config(wanted, study, path)
    print(path, file=sys.stderr)
