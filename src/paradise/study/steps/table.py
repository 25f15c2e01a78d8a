"""table: one of the tables, from what has been measured."""

from pathlib import Path
from typing import Annotated

import typer

from paradise.study.preset import Preset
from paradise.study.records import View
from paradise.study.registry import TABLES
from paradise.study.steps import Step, Wildcards, view_modules
from paradise.study.terminal.options import DIGITS, PresetPath, detection_of


def wanted(preset: Preset) -> list[str]:
    """The names of the tables that a preset makes."""
    return [name for name in TABLES.names() if TABLES.get(name).wanted(preset)]


def _inputs(preset: Preset, wildcards: Wildcards) -> dict[str, Path]:
    table = TABLES.get(wildcards["table"])
    published = {path.name: path for path in table.published}
    return {place: preset.results / place for place in table.shows(preset)} | published


STEP = Step(
    name="table",
    about="a table, measured beside published",
    schema=View,
    record="{results}/tables/{table}.json",
    outputs=("{results}/tables/{table}.md", "{results}/tables/{table}.csv"),
    jobs=lambda preset: [{"table": name} for name in wanted(preset)],
    entries=lambda preset, wildcards: [TABLES.module(wildcards["table"]), *view_modules(preset)],
    inputs=_inputs,
    settings=lambda preset, wildcards: preset.values(),
    packages=(),
    view=True,
    in_git=("{table}.md", "{table}.csv"),
)


Which = Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(TABLES.names())}; all by default.")]


def choose(which: list[str] | None, study: Preset) -> list[str]:
    """The tables that are asked for, or all of a preset. Raises UserError where there is no such table."""
    for name in which or ():
        TABLES.module(name)
    if "detection" in (which or ()):
        detection_of(study)
    return which or wanted(study)


def command(which: Which = None, preset: PresetPath = DIGITS) -> None:
    """Write the tables of a preset from what has been measured so far."""
    study = Preset.load(preset)
    names = choose(which, study)
    from paradise.study.tables import write_tables

    write_tables(names, study)
