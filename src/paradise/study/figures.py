"""The study's figures, in one style: told apart in grey and by colour-blind readers by marker and dash as well."""

import csv
import io
import os
import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradise.files import replacing
from paradise.names import DEPTHS, PLAIN, list_kinds
from paradise.study.paper import Line, read_paper
from paradise.study.records import Trained
from paradise.study.results import Study
from paradise.study.rows import DetectorRow, Row
from paradise.study.statistics import mean_interval

INK = "#1c1c1c"
# Okabe and Ito's palette (2008).
COLOURS = "#d55e00", "#0072b2", "#009e73", "#e69f00", "#56b4e9", "#cc79a7", INK
MARKERS = "o", "s", "^", "D", "v", "P", "X"
DASHES = "-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1))
# The series of the paper's kinds of network, the same in every figure.
KIND_SERIES = {"plain": 6, "se": 3, "ge": 4, "ac": 2, "pd_a": 0, "pd_b": 1}
PLAINEST = Row(PLAIN, DEPTHS[0])  # whose latency is the unit of the others
SMOOTHED_OVER = 20  # iterations of a detector's loss
FEW_POINTS = 30  # of a curve, up to which each is marked
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure is the same everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#8a8a8a",
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 120,
    "svg.hashsalt": "paradise",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
Log = dict[str, list[float]]  # what a training logged: column → values


styled = matplotlib.rc_context(STYLE)  # a decorator


def style(index: int) -> dict[str, Any]:
    """Colour, marker and dash of the series number `index`."""
    at = index % len(COLOURS)
    return {"color": COLOURS[at], "marker": MARKERS[at], "linestyle": DASHES[at]}


def kind_style(kind: str) -> dict[str, Any]:
    """The style of a kind of network: of one that the paper does not have, the next that is free."""
    new = [other for other in list_kinds() if other not in KIND_SERIES]
    free = [index for index in range(len(COLOURS)) if index not in KIND_SERIES.values()]
    return style(KIND_SERIES[kind] if kind in KIND_SERIES else free[new.index(kind) % len(free)])


def panels(columns: int, rows: int = 1, width: float = 4.2, height: float = 3.4) -> tuple[Figure, list[Any]]:
    """A figure and its axes in reading order.

    Args:
        columns: How many panels stand side by side.
        rows: How many rows of them there are.
        width: Of one panel, in inches.
        height: Of one panel, in inches.
    """
    figure = Figure(figsize=(width * columns, height * rows))
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


@dataclass(frozen=True)
class Picture:
    """A figure as it is shown: SVG for pages and papers, PNG for slides; `width` in inches."""

    svg: str
    png: bytes
    width: float


def draw(figures: Mapping[str, Figure]) -> dict[str, Picture]:
    """All figures, on as many processors as there are."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork")) as pool:
        return dict(zip(figures, pool.map(_draw, figures.values())))


@styled
def _draw(figure: Figure) -> Picture:
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", dpi=72, metadata={"Date": None})
    figure.set_layout_engine("none")  # it has been laid out
    figure.savefig(png, format="png", metadata={"Software": None})
    return Picture(svg.getvalue(), png.getvalue(), figure.get_figwidth())


def save(pictures: Mapping[str, Picture], folder: Path) -> None:
    """Writes each picture as `NAME.svg` and `NAME.png`."""
    for name, picture in pictures.items():
        with replacing(folder / f"{name}.svg") as path:
            path.write_text(picture.svg)
        with replacing(folder / f"{name}.png") as path:
            path.write_bytes(picture.png)


@styled
def study_figures(study: Study) -> dict[str, tuple[Figure, str]]:
    """The figures that can be drawn of what has been measured: name → figure, and what it shows in a sentence."""
    drawn = {
        "accuracy-flops": (
            _accuracy_against("FLOPs, G", study, _published_flops, _flops(study)),
            "Top-1 accuracy of the fused networks against operations; measured on the left, published on the right.",
        ),
        "accuracy-latency": (
            _accuracy_against("CPU latency ÷ plain ResNet18", study, _published_latency, _latency(study)),
            "Top-1 accuracy of the fused networks against latency; measured on the left, published on the right.",
        ),
        "training": (
            _training_curves(study),
            "Validation accuracy after each epoch, and the detectors' training loss.",
        ),
        "gain": (
            _gain(study),
            "Points by which each network is ahead of the plain one after each epoch; 95 % intervals over seeds.",
        ),
        "accuracy-minutes": (
            _accuracy_against_minutes(study),
            "Top-1 accuracy of the fused networks against the minutes that a training took.",
        ),
    }
    return {name: (figure, text) for name, (figure, text) in drawn.items() if figure}


def _published_flops(line: Line) -> float:
    return float(line["flops_g"])


def _published_latency(line: Line) -> float:
    return float(line["latency_cpu_ms"]) / float(read_paper().imagenet[PLAINEST]["latency_cpu_ms"])


def _flops(study: Study) -> dict[str, float]:
    """What was counted, in G, by row."""
    rows = study.complexity.rows if study.complexity else {}
    return {row: counted.flops / 1e9 for row, counted in rows.items()}


def _latency(study: Study) -> dict[str, float]:
    """What was timed, over the plain network with 18 layers, by row."""
    rows = study.latency.rows if study.latency else {}
    plain = rows.get(PLAINEST.id)
    return {row: timed.median_ms / plain.median_ms for row, timed in rows.items()} if plain else {}


def _accuracy_against(
    label: str, study: Study, published_cost: Callable[[Line], float], costs: dict[str, float]
) -> Figure | None:
    """Accuracy against a cost, measured beside published; None where nothing was measured."""
    lines = read_paper().imagenet
    published = {row: (published_cost(line), float(line["top1"]), 0.0) for row, line in lines.items()}
    measured = {}
    for row in lines:
        values = [run.evaluation.fused.top1 for run in study.runs(row)]
        if values and row.id in costs:
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            measured[row] = costs[row.id], statistics.fmean(values), spread
    if not measured:
        return None
    figure, axes = panels(2)
    titles = f"measured, {study.preset.data.dataset}", "published, ImageNet"
    for axis, points, title in zip(axes, (measured, published), titles):
        for row, (x, y, spread) in points.items():
            look = kind_style(row.kind) | {"linestyle": "none", "fillstyle": _fill(row.depth)}
            axis.errorbar(x, y, spread, elinewidth=1, **look)
        axis.set(title=title, xlabel=label, ylabel="top-1 accuracy, %")
        axis.margins(0.12)
    families = {row.kind: row.family for row in lines}
    handles = [
        Line2D([], [], **(kind_style(kind) | {"linestyle": "none"}), label=family) for kind, family in families.items()
    ]
    handles += [
        Line2D([], [], color=INK, marker="o", linestyle="none", fillstyle=_fill(depth), label=f"{depth} layers")
        for depth in DEPTHS
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, handletextpad=0.2, columnspacing=1)
    return figure


def _gain(study: Study) -> Figure | None:
    """Accuracy over the plain network's by epoch, seed by seed; None with fewer than two seeds."""
    gains: dict[int, dict[Row, list[list[float]]]] = {}
    for row in study.preset.models:
        plain = {run.run.seed: read_log(run.folder) for run in study.runs(row.plain)}
        logs = [(read_log(run.folder), plain.get(run.run.seed)) for run in study.runs(row) if row != row.plain]
        both = [
            [a - b for a, b in zip(log["val_top1"], other["val_top1"])]
            for log, other in logs
            if log and other and len(log["epoch"]) == len(other["epoch"])
        ]
        if len(both) > 1:
            gains.setdefault(row.depth, {})[row] = both
    if not gains:
        return None
    figure, axes = panels(len(gains), height=4.0)
    for axis, (depth, rows) in zip(axes, gains.items()):
        for shift, (row, seeds) in enumerate(rows.items()):
            by_epoch = list(zip(*seeds))
            intervals = [mean_interval(values) for values in by_epoch]
            means = [statistics.fmean(values) for values in by_epoch]
            reach = [(high - low) / 2 for low, high in filter(None, intervals)]
            x = [epoch + 0.06 * (shift - len(rows) / 2) for epoch in range(1, len(means) + 1)]
            axis.errorbar(x, means, reach, elinewidth=1, **kind_style(row.kind), label=row.family)
        axis.axhline(0, color=INK, linewidth=0.8)
        axis.set(title=f"{depth} layers", xlabel="epoch", ylabel="validation top-1 above the plain network's, points")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=7, handlelength=3)
    return figure


def _accuracy_against_minutes(study: Study) -> Figure | None:
    """Accuracy against the time that a training took, the mean over seeds; None where nothing was trained."""
    figure, (axis,) = panels(1, width=5.0, height=3.8)
    drawn = [row for row in study.preset.classifiers if row.branches is None and _draw_minutes(axis, study, row)]
    if not drawn:
        return None
    axis.set(xlabel="minutes of training", ylabel="top-1 accuracy, %")
    axis.margins(0.12)
    axis.legend(fontsize=7)
    return figure


def _draw_minutes(axis: Any, study: Study, row: Row) -> bool:
    """One row's point, if it has been trained."""
    runs = [(run.record, run.evaluation.fused.top1) for run in study.runs(row)]
    points = [(record.seconds / 60, top1) for record, top1 in runs if isinstance(record, Trained)]
    if not points:
        return False
    minutes, top1 = zip(*points)
    spread = statistics.stdev(top1) if len(top1) > 1 else 0.0
    look = style(5) if row.longer else kind_style(row.kind)
    look |= {"linestyle": "none", "fillstyle": _fill(row.depth)}
    axis.errorbar(statistics.fmean(minutes), statistics.fmean(top1), spread, elinewidth=1, **look, label=row.label)
    return True


def _fill(depth: int) -> Any:
    return "full" if depth == DEPTHS[0] else "none"


def _training_curves(study: Study) -> Figure | None:
    """Curves of all rows, the mean and the range over seeds; None where nothing was logged."""
    curves: dict[str, dict[Row | DetectorRow, _Curve]] = {}
    rows: list[Row | DetectorRow] = [*study.preset.classifiers, *study.preset.detectors]
    for row in rows:
        if curve := _curve(study, row):
            curves.setdefault(_group(row), {})[row] = curve
    if not curves:
        return None
    columns = min(len(curves), 3)
    figure, axes = panels(columns, -(-len(curves) // columns), 4.2, 4.4)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    for axis, (title, of) in zip(axes, curves.items()):
        for index, (row, curve) in enumerate(of.items()):
            look = kind_style(row.kind) if isinstance(row, Row) and row.whole else style(index)
            marked = look if len(curve.x) < FEW_POINTS else look | {"marker": ""}
            axis.plot(curve.x, curve.mean, **marked, label=_short(row))
            axis.fill_between(curve.x, curve.low, curve.high, color=look["color"], alpha=0.12, linewidth=0)
        loss = any(isinstance(row, DetectorRow) for row in of)
        what = ("iteration", f"training loss, mean of {SMOOTHED_OVER}") if loss else ("epoch", "validation top-1, %")
        axis.set(title=title, xlabel=what[0], ylabel=what[1])
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=7, handlelength=3)
    return figure


def _group(row: Row | DetectorRow) -> str:
    """The panel that a row's curve is in."""
    if isinstance(row, DetectorRow):
        return row.title
    return row.plain.label if row.branches is None else f"branches of {row.plain.label}"


def _short(row: Row | DetectorRow) -> str:
    """As short as a legend wants it: "PD-B, standard1 + group"; "PD-B inside"."""
    if isinstance(row, DetectorRow):
        return row.family
    if row.longer:
        return f"{row.family}, longer"
    return f"{row.family}, {' + '.join(row.branches)}" if row.branches else row.family


@dataclass(frozen=True)
class _Curve:
    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def _curve(study: Study, row: Row | DetectorRow) -> _Curve | None:
    """Over seeds: accuracy by epoch, or a detector's loss by iteration, smoothed."""
    detector = isinstance(row, DetectorRow)
    runs = study.detectors(row) if isinstance(row, DetectorRow) else study.runs(row)
    key, value = ("iteration", "loss") if detector else ("epoch", "val_top1")
    by_x: dict[float, list[float]] = {}
    for run in runs:
        if (log := read_log(run.folder)) is not None:
            for x, y in zip(log[key], smoothed(log[value]) if detector else log[value]):
                by_x.setdefault(x, []).append(y)
    if not by_x:
        return None
    values = dict(sorted(by_x.items()))
    mean = [statistics.fmean(of) for of in values.values()]
    return _Curve(list(values), mean, [min(of) for of in values.values()], [max(of) for of in values.values()])


def smoothed(values: list[float]) -> list[float]:
    """Each value's mean with the ones before it, `SMOOTHED_OVER` of them or all that there are."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(ends - SMOOTHED_OVER, 0)
    means: list[float] = ((sums[ends] - sums[begins]) / (ends - begins)).tolist()
    return means


def read_log(folder: Path) -> Log | None:
    """The `log.csv` of a run; None where it is not here or damaged."""
    try:
        with (folder / "log.csv").open(newline="") as file:
            header, *lines = csv.reader(file)
            log = {name: [float(line[index]) for line in lines] for index, name in enumerate(header)}
    except (OSError, ValueError, IndexError):
        return None
    complete = {"epoch", "train_top1", "val_top1"} <= set(log) or {"iteration", "loss"} <= set(log)
    return log if lines and complete else None


def plain(text: str) -> str:
    """As text, where matplotlib would read mathematics between two dollars."""
    return text.replace("$", r"\$")
