"""dvc-yaml: the study as DVC sees it."""

from typing import Annotated

import typer

from paradise.errors import UserError
from paradise.study.files import write_text
from paradise.study.preset import Preset
from paradise.study.terminal.options import DIGITS, PresetPath


def command(
    preset: PresetPath = DIGITS,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the files are what would be written.")
    ] = False,
) -> None:
    """Write dvc.yaml, one stage for each result of a preset, and which of them git keeps: .gitignore of its folder."""
    from paradise.study.sharing.pipeline import study_files

    for path, text in study_files(Preset.load(preset)).items():
        if not check:
            write_text(path, text)
        elif not path.is_file() or path.read_text() != text:
            raise UserError(f"{path} is not what {preset} makes; `paradise dvc-yaml --preset {preset}` writes it")
