"""show: the tables of a study, as a terminal has room for them."""

from typing import Annotated

import typer

from paradise.study.preset import Preset
from paradise.study.registry import TABLES
from paradise.study.steps.table import wanted
from paradise.study.table import Table
from paradise.study.terminal.options import DIGITS, PresetPath


def command(
    which: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(TABLES.names())}; all by default.")] = None,
    preset: PresetPath = DIGITS,
) -> None:
    """Print what has been measured of a preset, beside what the paper prints, in few columns."""
    study = Preset.load(preset)
    for name in which or ():
        TABLES.module(name)
    from paradise.study.results import Study

    shown = Study(study)
    for table in sorted(map(TABLES.get, which or wanted(study)), key=lambda table: table.order):
        filled = table.make(shown)
        if isinstance(filled, Table):
            print(f"{table.title} (preset {study.name})\n\n{filled.text()}\n")
    print(f"All columns, and notes: {study.results}/tables/. As one page: {study.results}/report.html")
