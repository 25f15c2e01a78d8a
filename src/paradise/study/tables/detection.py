"""The paper's third table: AP of the fused detectors, what they cost, and rows that nobody has published."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from paradise.study.cells import anchors, downloads, is_marked, provenance, record_places
from paradise.study.notes import marks_notes, not_run_notes, not_shown_notes
from paradise.study.paper import FOLDER, Line, read_paper
from paradise.study.records import FORMS, DetectorProfile
from paradise.study.registry import DETECTION_SETS
from paradise.study.results import EvaluatedDetectorRun, Study
from paradise.study.rows import DetectorRow, Run
from paradise.study.table import NOT_RUN, Cell, CsvLine, Quantity, StudyTable, Table, Value, each, escape

PRECISION = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_s": "AP_S", "ap_m": "AP_M", "ap_l": "AP_L"}
COSTS = {"flops": ("FLOPs G", 1e9, 2), "params": ("Params M", 1e6, 2), "median_ms": ("Latency ms", 1, 1)}
NEW_BACKBONE = "PD-B in backbone, FPN and heads (new)"


def make(study: Study) -> Table:
    """The table; below the paper's rows, a new one for each detector."""
    costs = [title for name, _, _ in COSTS.values() for title in (f"{name}, trained", "fused")]
    columns = ["Detector", "Backbone", *PRECISION.values(), "AP trained", "Outputs differ", *costs, "÷ ResNet50"]
    table = Table(columns, brief=("Detector", "Backbone", "AP", "AP50", "÷ ResNet50"))
    paper, shown = read_paper(), []
    for row in paper.detectors:
        line, runs = paper.coco.get(row, {}), study.detectors(row)
        backbone = line.get("backbone", NEW_BACKBONE)
        csv: CsvLine = {"detector": row.title, "backbone": backbone, "row": row.id}
        cells: list[Cell] = [Value(row.title), Value(backbone)]
        for more_csv, more_cells in (_precision(runs, line), _costs(study, row)):
            csv |= more_csv
            cells += more_cells
        csv |= provenance(runs, study.marked.get("profile_detectors", ()))
        table.add(csv, cells, downloads(runs))
        shown += runs
    wanted = [Run(row, seed) for row in paper.detectors for seed in study.preset.seeds_of(row)]
    table.notes += _notes(study, shown)
    table.notes += not_run_notes(wanted, shown, study)
    table.notes += not_shown_notes(study, wanted, ("profile_detectors",))
    table.notes += marks_notes(study, shown, [("profile_detectors", study.detection)])
    return table


def _precision(runs: Sequence[EvaluatedDetectorRun], line: Line) -> tuple[CsvLine, list[Cell]]:
    """AP of the fused form beside the paper's, that of the trained form, and how their outputs differ."""
    leads, marked = anchors(runs), is_marked(runs)
    csv: CsvLine = {}
    cells: list[Cell] = []
    for key in PRECISION:
        measured = (getattr(run.evaluation.fused, key) for run in runs)
        quantity = Quantity(key, [value for value in measured if value is not None], line.get(key), 1, leads, marked)
        csv |= quantity.csv()
        cells.append(quantity)
    trained = [run.evaluation.trained.ap for run in runs if run.evaluation.trained.ap is not None]
    differ = [run.evaluation.heads.relative for run in runs]
    csv["ap_trained"] = statistics.fmean(trained) if trained else NOT_RUN
    csv["outputs_relative_difference"] = max(differ) if differ else NOT_RUN
    cells.append(Value(f"{statistics.fmean(trained):.1f}", leads, marked) if trained else Value(NOT_RUN))
    cells.append(Value(f"{max(differ):.0e}", leads, marked) if differ else Value(NOT_RUN))
    return csv, cells


def _costs(study: Study, row: DetectorRow) -> tuple[CsvLine, list[Cell]]:
    """Operations, parameters and latency of both forms, and the fused one's latency over the plain detector's."""
    profiles = study.detection.rows if study.detection else {}
    profiled, plain = profiles.get(row.id), profiles.get(row.plain.id)
    csv: CsvLine = {}
    cells: list[Cell] = []

    def add(key: str, value: float | None, decimals: int) -> None:
        csv[key] = NOT_RUN if value is None else value
        marked = "profile_detectors" in study.marked
        cells.append(
            Value(NOT_RUN) if value is None else Value(f"{value:.{decimals}f}", ("profile-detection",), marked)
        )

    for key, (_, unit, decimals) in COSTS.items():
        for form in FORMS:
            add(f"{key}_{form}", _cost(profiled, form, key) / unit if profiled else None, decimals)
    add("latency_ratio", profiled.fused.median_ms / plain.fused.median_ms if profiled and plain else None, 3)
    return csv, cells


def _cost(profile: DetectorProfile, form: str, key: str) -> float:
    value: float = getattr(getattr(profile, form), key)
    return value


def _notes(study: Study, runs: Sequence[EvaluatedDetectorRun]) -> list[str]:
    section = study.preset.detection
    assert section is not None  # without it there is no such table
    dataset = DETECTION_SETS.get(section.dataset)
    notes = [f"AP by pycocotools, in %, of the fused detectors; measured (bold) on {dataset.title}."]
    if dataset.embedded:
        notes[0] += " The paper's is of COCO: **another data set**; their difference (Δ) says nothing about the method."
    notes.append(
        "Rows marked new are not the paper's: there PD-B takes the place of the 3×3 convolutions of the pyramid and of "
        "the dense heads' towers as well."
    )
    if runs:
        notes.append(
            f"On {each(run.evaluation.images for run in runs)} held-out images; "
            f"seed {each(run.run.seed for run in runs)}; trained {each(run.record.iterations for run in runs)} "
            f"iterations on {each(run.record.machine for run in runs)}, commit "
            f"{each(run.record.short_commit for run in runs)}. Outputs differ: the largest "
            "difference of any head's output between both forms, as a part of the largest output."
        )
    if study.detection:
        profile = study.detection
        notes.append(
            f"FLOPs (counted as in Table 1), Params and Latency of the network at {profile.image_size}×"
            f"{profile.image_size}, without decoding and suppression; Params in each form as it is stored. "
            f"Latency on {escape(str(profile.machine))}, threads: {profile.machine.threads}; batch 1, median of "
            f"{section.latency.rounds} interleaved runs; the last ratio is of the fused forms."
        )
    return notes


TABLE = StudyTable(
    title="Table 3: detection",
    order=3,
    make=make,
    shows=lambda preset: [*record_places(preset.detector_runs), "profile/detection.json"],
    published=(FOLDER / "coco.csv",),
    wanted=lambda preset: preset.detection is not None,
)
