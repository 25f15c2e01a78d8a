"""The paper's second table: the branches, on ResNet18, summed (PD-A) and gated (PD-B)."""

from __future__ import annotations

from paradise.study.cells import accuracy, best_epoch, downloads, provenance, record_places
from paradise.study.notes import accuracy_notes, marks_notes, not_run_notes, not_shown_notes
from paradise.study.paper import FOLDER, Ablation, read_paper
from paradise.study.preset import Preset
from paradise.study.results import EvaluatedRun, Study
from paradise.study.rows import Row, Run
from paradise.study.table import NOTHING, Cell, CsvLine, StudyTable, Table, Value

BRANCHES_SHOWN = ("standard1", "standard2", "group", "skeleton")  # in the paper's order
TITLES = "PD-A top-1 %", "PD-A top-5 %", "PD-B top-1 %", "PD-B top-5 %"


def make(study: Study) -> Table:
    """The table. Its first line has one branch, and so nothing to gate."""
    branches = [branch.capitalize() for branch in BRANCHES_SHOWN]
    table = Table([*branches, *TITLES], brief=(*branches, "PD-A top-1 %", "PD-B top-1 %"))
    lines = read_paper().ablation
    shown: list[EvaluatedRun] = []
    for line in lines:
        runs = [run for row in line.rows for run in study.runs(row)]
        table.add(*_line(study, line), downloads(runs))
        shown += runs
    rows = list(dict.fromkeys(row for line in lines for row in line.rows))
    wanted = [Run(row, seed) for row in rows for seed in study.preset.seeds_of(row)]
    table.notes += accuracy_notes(study, rows)
    table.notes += not_run_notes(wanted, shown, study)
    table.notes += not_shown_notes(study, wanted)
    table.notes += marks_notes(study, shown)
    return table


def _line(study: Study, line: Ablation) -> tuple[CsvLine, list[Cell]]:
    csv: CsvLine = {branch: line.line[branch] for branch in BRANCHES_SHOWN}
    cells: list[Cell] = [Value("✓" if branch in line.branches else "·") for branch in BRANCHES_SHOWN]
    for kind, row in (("pd_a", line.summed), ("pd_b", line.gated)):
        if row is None:
            cells += [Value(NOTHING)] * 2
            continue
        runs = study.runs(row)
        for metric in ("top1", "top5"):
            quantity = accuracy(runs, f"{kind}_{metric}", metric, line.line[f"{kind}_{metric}"])
            csv |= quantity.csv()
            cells.append(quantity)
        leading = {"top1_best_epoch": best_epoch(runs)} | provenance(runs)
        csv |= {f"{kind}_{key}": value for key, value in leading.items()}
    return csv, cells


def _rows(preset: Preset) -> list[Row]:
    shown = {row for line in read_paper().ablation for row in line.rows}
    return [row for row in preset.classifiers if row in shown]


TABLE = StudyTable(
    title="Table 2: the branches, on ResNet18",
    order=2,
    make=make,
    shows=lambda preset: record_places(Run(row, seed) for row in _rows(preset) for seed in preset.seeds_of(row)),
    published=(FOLDER / "ablation.csv",),
)
