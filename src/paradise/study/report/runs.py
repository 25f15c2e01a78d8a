"""What the report says of each run: when, where and from what it was made, and how it learned."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from paradise.study.cells import weights
from paradise.study.figures import Log, read_log, smoothed
from paradise.study.notes import AnyRun, reasons_text
from paradise.study.records import EvaluatedDetector, Imported
from paradise.study.table import code, each, escape
from paradise.study.terminal.progress import duration

WIDTH, HEIGHT = 300, 90  # of a curve, in the drawing's units
POINTS = 150  # of a curve at most: more than can be seen of a longer log
RECORDS_WITHIN = 100  # runs: of more, the report names the records' files and does not repeat them


@dataclass(frozen=True)
class Curve:
    """A learning curve, to be drawn as polylines.

    Attributes:
        lines: The points of each line by its name, as SVG has them.
        low: What the drawing's lower edge is.
        high: What its upper edge is.
        text: What it shows, in a sentence.
    """

    lines: dict[str, str]
    low: str
    high: str
    text: str


@dataclass(frozen=True)
class ShownRun:
    """A run as the report shows it; `facts` and `records` by their names, the facts as Markdown."""

    anchor: str
    title: str
    facts: dict[str, str]
    curve: Curve | None
    records: dict[str, str]


def describe_runs(runs: Sequence[AnyRun]) -> list[ShownRun]:
    """What is said of each run that a number is from."""
    return [_describe(run, len(runs) <= RECORDS_WITHIN) for run in runs]


def draw_curve(log: Log) -> Curve:
    """The curve of a training's log: accuracy by epoch, or a detector's loss by iteration, smoothed."""
    if "val_top1" in log:
        series = {"validation": log["val_top1"], "training": log["train_top1"]}
        ends = [f"{name} {values[0]:.2f} → {values[-1]:.2f} %" for name, values in series.items()]
        text = f"Top-1 accuracy after each of {len(log['epoch'])} epochs: {', '.join(ends)} (dashed)."
    else:
        series = {"validation": smoothed(log["loss"])}
        first, last = series["validation"][0], series["validation"][-1]
        text = f"Training loss over {len(log['iteration'])} iterations, smoothed: {first:.3f} → {last:.3f}."
    low = min(min(values) for values in series.values())
    high = max(max(values) for values in series.values())
    lines = {name: _points(values, low, high) for name, values in series.items()}
    return Curve(lines, f"{low:.3g}", f"{high:.3g}", text)


def _points(values: Sequence[float], low: float, high: float) -> str:
    """A polyline through the values, the last among them, from left to right and from `low` to `high`."""
    step = -(-len(values) // POINTS)
    kept = sorted({*range(0, len(values), step), len(values) - 1})
    across, up = WIDTH / max(len(values) - 1, 1), HEIGHT / (high - low or 1)
    return " ".join(f"{index * across:.4g},{HEIGHT - (values[index] - low) * up:.4g}" for index in kept)


def _describe(run: AnyRun, with_records: bool) -> ShownRun:
    record, log = run.record, read_log(run.folder)
    took = "" if isinstance(record, Imported) else f", for {duration(record.seconds)}"
    facts = {
        "measured": _measured(run),
        "marked": escape(reasons_text(run.marks)),
        "preset": escape(record.preset),
        "seed": "" if run.run.seed is None else str(run.run.seed),
        "commit": record.commit or "unknown",
        "imported" if isinstance(record, Imported) else "trained": f"{record.time}{took}",
        "machine": escape(str(record.machine)),
        "precision": record.precision,
        "versions": each(f"{name} {version}" for name, version in record.versions.items()),
        "weights": f"SHA-256 {record.outputs['weights.safetensors']}; {weights(run)}",
        "records": ", ".join(code(str(run.folder / name)) for name in ("run.json", "evaluation.json")),
    }
    records = {"run.json": record, "evaluation.json": run.evaluation} if with_records else {}
    return ShownRun(
        run.run.anchor,
        f"{run.run.row}, {run.run.name}",
        {name: text for name, text in facts.items() if text},
        draw_curve(log) if log else None,
        {name: json.dumps(of.model_dump(mode="json"), indent=1) for name, of in records.items()},
    )


def _measured(run: AnyRun) -> str:
    evaluation = run.evaluation
    if isinstance(evaluation, EvaluatedDetector):
        values = {"trained": evaluation.trained.ap, "fused": evaluation.fused.ap}
        of = {form: "no AP" if value is None else f"AP {value:.2f} %" for form, value in values.items()}
        differ = f"outputs differ by {evaluation.heads.relative:.0e}"
    else:
        forms = {"trained": evaluation.trained, "fused": evaluation.fused}
        of = {form: f"top-1 {value.top1:.2f} %, top-5 {value.top5:.2f} %" for form, value in forms.items()}
        differ = f"logits differ by {evaluation.logits.relative:.0e}"
    texts = [*(f"{form} {text}" for form, text in of.items()), differ, f"on {evaluation.images} images"]
    return "; ".join(texts)
