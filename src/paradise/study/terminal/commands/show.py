"""show: the tables of a study, as a terminal has room for them."""

from paradise.study.preset import Preset
from paradise.study.registry import TABLES
from paradise.study.steps.table import Which, choose
from paradise.study.table import Table
from paradise.study.terminal.options import DIGITS, PresetPath


def command(which: Which = None, preset: PresetPath = DIGITS) -> None:
    """Print what has been measured of a preset, beside what the paper prints, in few columns."""
    study = Preset.load(preset)
    names = choose(which, study)
    from paradise.study.results import Study

    shown = Study(study)
    for table in sorted(map(TABLES.get, names), key=lambda table: table.order):
        filled = table.make(shown)
        if isinstance(filled, Table):
            print(f"{table.title} (preset {study.name})\n\n{filled.text()}\n")
    print(f"All columns, and notes: {study.results}/tables/. As one page: {study.results}/report.html")
