"""What tables say of runs: their accuracy, what leads to them, and where they can be fetched. No torch here."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Sequence

from paradise.study.notes import AnyRun, reasons_text
from paradise.study.records import Trained
from paradise.study.results import EvaluatedRun
from paradise.study.rows import Run
from paradise.study.stale import Reason
from paradise.study.table import NOT_RUN, CsvLine, Quantity, code

RECORDS = ("evaluation.json", "run.json")  # of a run, from which its numbers are


def record_places(runs: Iterable[Run], *more: str) -> list[str]:
    """Where the records of runs lie below the study's results, with other files beside them."""
    return [f"{run.place}/{name}" for run in runs for name in (*RECORDS, *more)]


def accuracy(runs: Sequence[EvaluatedRun], key: str, metric: str, published: str) -> Quantity:
    """Accuracy of the fused networks.

    Args:
        runs: Of one row.
        key: The quantity's name in the CSV.
        metric: "top1" or "top5".
        published: As the paper prints it.
    """
    values = [getattr(run.evaluation.fused, metric) for run in runs]
    return Quantity(key, values, published, 2, anchors(runs), is_marked(runs))


def anchors(runs: Iterable[AnyRun]) -> tuple[str, ...]:
    """What links to runs in the report are called."""
    return tuple(run.run.anchor for run in runs)


def is_marked(runs: Iterable[AnyRun]) -> bool:
    return any(run.marks for run in runs)


def best_epoch(runs: Iterable[EvaluatedRun]) -> float | str:
    """The mean of the runs' best top-1 accuracy after any epoch."""
    best = [run.record.best.val_top1 for run in runs if isinstance(run.record, Trained)]
    return statistics.fmean(best) if best else NOT_RUN


def provenance(runs: Sequence[AnyRun], *other_marks: Iterable[Reason]) -> CsvLine:
    """CSV cells that lead to the runs behind a line, and say what it is marked for."""
    reasons = [reason for marks in (*(run.marks for run in runs), *other_marks) for reason in marks]
    return {"runs": " ".join(str(run.folder / "run.json") for run in runs) or NOT_RUN, "marks": reasons_text(reasons)}


def downloads(runs: Iterable[AnyRun]) -> list[str]:
    """For each run, links to its log and record, beside the tables' folder, and how to fetch its weights."""
    texts = []
    for run in runs:
        files = {"log": "log.csv", "record": "run.json"}
        if run.run.seed is None:
            del files["log"]
        links = [f"[{name}](../{run.run.place}/{file})" for name, file in files.items()]
        texts.append(" · ".join([*links, weights(run)]))
    return texts


def weights(run: AnyRun) -> str:
    """How to get the weights of a run."""
    if isinstance(run.record, Trained) and run.record.weights_stay:
        return "weights not shared"
    return code(shlex.join(["dvc", "pull", f"{run.folder}/weights.safetensors"]))
