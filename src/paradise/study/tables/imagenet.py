"""The paper's first table: accuracy of the fused networks, parameters, operations and latency."""

from __future__ import annotations

from paradise.study.cells import accuracy, best_epoch, downloads, provenance, record_places
from paradise.study.notes import accuracy_notes, marks_notes, not_run_notes, not_shown_notes
from paradise.study.paper import FOLDER, Line, read_paper
from paradise.study.preset import Preset
from paradise.study.results import EvaluatedRun, Study
from paradise.study.rows import Row, Run
from paradise.study.table import NOT_RUN, Cell, CsvLine, Quantity, StudyTable, Table, Value, escape

TITLES = "Top-1 %", "Top-5 %", "FLOPs G", "Params M", "Latency ms", "÷ ResNet"
COUNTED, TIMED = ("profile-complexity",), ("profile-latency",)  # anchors in the report


def make(study: Study) -> Table:
    """The table, with a line of its own for each checkpoint of others."""
    published = read_paper().imagenet
    table = Table(
        ["Model", *TITLES, "MACs G", "Stored M"], brief=("Model", "Top-1 %", "FLOPs G", "Latency ms", "÷ ResNet")
    )
    marks = study.marked.get("complexity", ()), study.marked.get("latency", ())
    shown: list[EvaluatedRun] = []
    for row, line in published.items():
        costs, extra, extra_csv = _costs(study, row, line, published[row.plain])
        imported = study.imported(row)
        named = [(line["model"], study.runs(row))]
        named += [(f"{line['model']} ({run.record.source})", [run]) for run in imported]  # type: ignore[union-attr]
        for model, runs in named:
            quantities = [*(accuracy(runs, key, key, line[key]) for key in ("top1", "top5")), *costs]
            csv: CsvLine = {"model": model, "row": row.id}
            for quantity in quantities:
                csv |= quantity.csv()
            csv |= extra_csv | {"top1_best_epoch": best_epoch(runs)} | provenance(runs, *marks)
            table.add(csv, [Value(model), *quantities, *extra], downloads(runs))
            shown += runs
    wanted = [Run(row, seed) for row in published for seed in study.preset.seeds_of(row)]
    wanted += [Run(row, None) for row in published if row.id in (study.preset.checkpoints or {})]
    table.notes += accuracy_notes(study, published)
    table.notes += not_run_notes(wanted, shown, study)
    table.notes += not_shown_notes(study, wanted, ("complexity", "latency"))
    table.notes += marks_notes(study, shown, [("complexity", study.complexity), ("latency", study.latency)])
    table.notes += _profile_notes(study)
    return table


def _costs(study: Study, row: Row, line: Line, plain: Line) -> tuple[list[Quantity], list[Cell], CsvLine]:
    """What is counted and timed of `row`: beside the paper's, what the paper does not have, and this for the CSV."""
    counted = study.complexity.rows.get(row.id) if study.complexity else None
    timed = study.latency.rows if study.latency else {}
    marked = "complexity" in study.marked, "latency" in study.marked
    ratio = float(line["latency_cpu_ms"]) / float(plain["latency_cpu_ms"])
    flops, params = ([counted.flops / 1e9], [counted.params / 1e6]) if counted else ([], [])
    median = [timed[row.id].median_ms] if row.id in timed else []
    slower = [median[0] / timed[row.plain.id].median_ms] if median else []
    costs = [
        Quantity("flops_g", flops, line["flops_g"], 3, COUNTED, marked[0]),
        Quantity("params_m", params, line["params_m"], 3, COUNTED, marked[0]),
        Quantity("latency_cpu_ms", median, line["latency_cpu_ms"], 1, TIMED, marked[1]),
        Quantity("latency_ratio", slower, f"{ratio:.3f}", 3, TIMED, marked[1]),
    ]
    if counted is None:
        return costs, [Value(NOT_RUN), Value(NOT_RUN)], {"macs_g": NOT_RUN, "deploy_params_m": NOT_RUN}
    macs, stored = counted.macs / 1e9, counted.deploy_params / 1e6
    extra: list[Cell] = [Value(f"{value:.3f}", COUNTED, marked[0]) for value in (macs, stored)]
    return costs, extra, {"macs_g": macs, "deploy_params_m": stored}


def _profile_notes(study: Study) -> list[str]:
    notes = []
    if study.complexity:
        notes.append(
            "FLOPs and Params as the paper counts them: 1000 classes, 224×224, PD-A and PD-B as one 3×3 convolution "
            "with BatchNorm (and PD-B's gate), operations as listed in `profiling/complexity.py`. MACs: "
            "multiply-accumulates alone. Stored: what the fused network keeps; PD-B keeps a kernel for each branch, "
            "which the paper does not count."
        )
    if study.latency:
        machine, rounds = study.latency.machine, study.preset.latency.rounds
        notes.append(
            f"Latency on {escape(str(machine))}, threads: {machine.threads}; fused, batch 1, 224×224, median of "
            f"{rounds} interleaved runs. The paper's machine is another: compare the ratios to the plain ResNet."
        )
    return notes


def _shows(preset: Preset) -> list[str]:
    runs = [run for run in preset.runs if run.row in preset.models]
    return [*record_places(runs), "profile/complexity.json", "profile/latency.json"]


TABLE = StudyTable(
    title="Table 1: classification, complexity and CPU latency",
    order=1,
    make=make,
    shows=_shows,
    published=(FOLDER / "imagenet.csv",),
)
