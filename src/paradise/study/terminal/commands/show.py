"""show: the tables of a study, as a terminal has room for them."""

import textwrap

from paradise.study.preset import Preset
from paradise.study.registry import TABLES
from paradise.study.steps.table import Which, choose
from paradise.study.table import MARK, Table
from paradise.study.terminal.options import DIGITS, PresetPath

COLUMNS = 100  # of a terminal


def command(which: Which = None, preset: PresetPath = DIGITS) -> None:
    """Print what has been measured of a preset, beside what the paper prints, in few columns."""
    study = Preset.load(preset)
    names = choose(which, study)
    from paradise.study.results import Study

    shown = Study(study)
    for table in sorted(map(TABLES.get, names), key=lambda table: table.order):
        filled = table.make(shown)
        if isinstance(filled, Table):
            # What the numbers are of, which nobody must take for the paper's data, and what is marked.
            notes = [*filled.notes[:1], *(note for note in filled.notes[1:] if note.startswith(MARK))]
            plain = [note.replace(" (bold)", "").replace("**", "") for note in notes]
            lines = [line for note in plain for line in textwrap.wrap(note, COLUMNS, break_on_hyphens=False)]
            print("\n".join([f"{table.title} (preset {study.name})", "", filled.text(), "", *lines, ""]))
    print(f"All columns, and all notes: {study.results}/tables/")
