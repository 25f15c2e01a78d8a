"""The tables of a study: each a module of this package, which exports its `TABLE`, and how all are written."""

from __future__ import annotations

from collections.abc import Iterable

from paradise.study.files import write_text
from paradise.study.preset import Preset
from paradise.study.registry import TABLES
from paradise.study.results import Study
from paradise.study.views import write_view


def write_tables(names: Iterable[str], preset: Preset) -> None:
    """Writes tables of what has been measured of a preset, each with its record: `tables/NAME.{md,csv,json}`.

    What was not measured says "not run".

    Args:
        names: Modules of this package.
        preset: The study.

    Raises:
        UserError: A record is damaged, or a file cannot be written.
    """
    study = Study(preset)
    for name, files in {name: render(name, study) for name in names}.items():
        for file, text in files.items():
            write_text(preset.results / "tables" / file, text)
        write_view(study, "table", table=name)


def render(name: str, study: Study) -> dict[str, str]:
    """The files of the table `name`: their names → their text."""
    return {f"{name}{suffix}": text for suffix, text in TABLES.get(name).render(study).items()}
