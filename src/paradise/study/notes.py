"""The sentences below tables: what was measured, on what, and what is marked or left out. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from paradise.names import WIDTH
from paradise.study.records import Measurement
from paradise.study.registry import DATASETS
from paradise.study.results import EvaluatedDetectorRun, EvaluatedRun, Study
from paradise.study.rows import Row, Run
from paradise.study.stale import Reason
from paradise.study.table import MARK, each, escape

IMAGENET_VALIDATION = 50_000  # images
AnyRun = EvaluatedRun | EvaluatedDetectorRun


def accuracy_notes(study: Study, rows: Collection[Row]) -> list[str]:
    """What a table of the accuracy of `rows` says of its data, its runs and where they were trained."""
    runs = [run for row in rows for run in study.runs(row)]
    dataset = study.preset.data.dataset
    if dataset == "imagenet" and all(run.evaluation.images == IMAGENET_VALIDATION for run in runs):
        notes = [
            "Accuracy, measured (bold) and published, is of ImageNet; the recipe is the paper's in the preset "
            "`imagenet` alone."
        ]
    else:
        notes = [
            f"Measured accuracy (bold) is of {DATASETS.get(dataset).title}, **not ImageNet**; the paper's is of "
            "ImageNet. Their difference (Δ) says nothing about the method."
        ]
    widths = {study.preset.recipe(row).width or WIDTH for row in rows if study.runs(row)}
    if widths - {WIDTH}:
        notes.append(
            f"A trial: these networks' first stage has {each(sorted(widths))} channels, not the paper's {WIDTH}. "
            "Complexity and latency are the full networks'."
        )
    if runs:
        same = sum(run.evaluation.trained.top1_hits == run.evaluation.fused.top1_hits for run in runs)
        notes += [
            "Accuracy of the fused network after the last epoch, on "
            f"{each(run.evaluation.images for run in runs)} held-out images; "
            f"seed {each(run.run.seed for run in runs)}. Each run's best epoch stands in the CSV.",
            f"Trained and fused network have equally many top-1 hits in {same} of {len(runs)} runs; their logits "
            f"differ by at most {max(run.evaluation.logits.relative for run in runs):.0e} of the largest.",
            f"Trained on {each(run.record.machine for run in runs)} in {each(run.record.precision for run in runs)}, "
            f"commit {each(run.record.short_commit for run in runs)}.",
        ]
    return notes


def not_run_notes(wanted: Iterable[Run], shown: Iterable[AnyRun], study: Study) -> list[str]:
    """Which rows of the runs `wanted` have nothing: neither what is shown nor what is refused."""
    known = {run.run.row for run in shown if run.run.seed is not None}
    trained = [run for run in wanted if run.seed is not None and run.row not in known]
    known = {run.row for run in trained if why_refused(study, run)}
    missing = dict.fromkeys(f"`{run.row}`" for run in trained if run.row not in known)
    return [f"Not run: {', '.join(missing)}."] if missing else []


def not_shown_notes(study: Study, wanted: Iterable[Run], profiles: Iterable[str] = ()) -> list[str]:
    """What is there and not shown, with the reasons.

    Args:
        study: Whose results they are.
        wanted: All runs that would be shown.
        profiles: The steps of profiles that would be.
    """
    refused = [(run.row.id, run.name, reasons_text(why)) for run in wanted if (why := why_refused(study, run))]
    refused += [(step, "", reasons_text(study.refused[step])) for step in profiles if step in study.refused]
    return [f"Not shown: {_grouped(refused)}."] if refused else []


def why_refused(study: Study, run: Run) -> tuple[Reason, ...]:
    """Why a run that is there is not shown; nothing where it is shown or not there."""
    measured, trained = ("evaluate", "train") if isinstance(run.row, Row) else ("evaluate_detector", "train_detector")
    made = f"{trained} {run}" if run.seed is not None else f"import_checkpoint {run.row}"
    return study.refused.get(f"{measured} {run}") or study.refused.get(made) or ()


def marks_notes(
    study: Study, shown: Iterable[AnyRun], profiles: Iterable[tuple[str, Measurement | None]] = ()
) -> list[str]:
    """What is marked, with the commit and the reasons.

    Args:
        study: Whose results they are.
        shown: The runs that are shown.
        profiles: The profiles that are shown, with the steps that made them.
    """
    marked = []
    for run in {run.run: run for run in shown}.values():
        if run.marks:
            commits = each((run.record.short_commit, run.evaluation.short_commit))
            marked.append((run.run.row.id, run.run.name, f"commit {commits}: {reasons_text(run.marks)}"))
    for step, record in profiles:
        if record is not None and (marks := study.marked.get(step)):
            marked.append((step, "", f"commit {record.short_commit}: {reasons_text(marks)}"))
    if not marked:
        return []
    return [
        f"{MARK} made by other code or packages than today's: {_grouped(marked)}; `paradise status` says what would be "
        "computed again."
    ]


def reasons_text(reasons: Iterable[Reason]) -> str:
    """Their words, each once."""
    return "; ".join(dict.fromkeys(map(str, reasons)))


def _grouped(items: Iterable[tuple[str, str, str]]) -> str:
    """What is said of things (thing, one of its runs, what is said), those together of which the same is said.

    As Markdown.
    """
    said: dict[str, dict[str, list[str]]] = {}
    for thing, run, text in items:
        said.setdefault(text, {}).setdefault(thing, []).append(run)
    groups = []
    for text, of in said.items():
        things = ", ".join(f"`{thing}` {', '.join(runs)}".rstrip() for thing, runs in of.items())
        groups.append(f"{things} ({escape(text)})")
    return "; ".join(groups)
