"""The study's figures, in one style: told apart in grey and by colour-blind readers by marker and dash as well."""

import io
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import matplotlib
import networkx
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paradise import preset as presets
from paradise.files import replacing
from paradise.names import DEPTHS, KINDS, detection_rows, imagenet_rows, split_model
from paradise.study import Study

INK = "#1c1c1c"
# Okabe and Ito's palette (2008).
COLOURS = "#d55e00", "#0072b2", "#009e73", "#e69f00", "#56b4e9", "#cc79a7", INK
MARKERS = "o", "s", "^", "D", "v", "P", "X"
DASHES = "-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1))
NAMES = {"": "plain", "se_": "SE", "ge_": "GE", "ac_": "AC", "pd_a_": "PD-A", "pd_b_": "PD-B"}
# (colour, marker, dash) of each kind of network, the same in every figure.
KIND_STYLES = dict(zip(KINDS, [6, 3, 4, 2, 0, 1]))
STYLE = {
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


styled = matplotlib.rc_context(STYLE)  # a decorator


def style(index: int) -> dict:
    """Colour, marker and dash of the series number `index`."""
    at = index % len(COLOURS)
    return {"color": COLOURS[at], "marker": MARKERS[at], "linestyle": DASHES[at]}


def panels(columns: int, rows: int = 1, width: float = 4.2, height: float = 3.4) -> tuple[Figure, list]:
    """A figure and its axes in reading order."""
    figure = Figure(figsize=(width * columns, height * rows))
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


@dataclass(frozen=True)
class Picture:
    """A figure as it is shown: SVG for pages and papers, PNG for slides; `width` in inches."""

    svg: str
    png: bytes
    width: float


def draw(figures: dict[str, Figure]) -> dict[str, Picture]:
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


def save(pictures: dict[str, Picture], folder: Path) -> None:
    """Each picture as `NAME.svg` and `NAME.png`."""
    for name, picture in pictures.items():
        with replacing(folder / f"{name}.svg") as path:
            path.write_text(picture.svg)
        with replacing(folder / f"{name}.png") as path:
            path.write_bytes(picture.png)


@styled
def figures(study: Study, paper: Path) -> dict[str, tuple[Figure, str]]:
    """The figures that can be drawn of what has been measured: name → figure, and what it shows in a sentence."""
    drawn = {
        "accuracy-flops": (
            _accuracy_against(study, paper, "flops_g", "FLOPs, G"),
            "Top-1 accuracy of the fused networks against operations; measured on the left, published on the right.",
        ),
        "accuracy-latency": (
            _accuracy_against(study, paper, "latency_ratio", "CPU latency ÷ plain ResNet18"),
            "Top-1 accuracy of the fused networks against latency; measured on the left, published on the right.",
        ),
        "training": (
            _training_curves(study, paper),
            "Validation accuracy after each epoch, and the detectors' training loss.",
        ),
    }
    return {name: (figure, text) for name, (figure, text) in drawn.items() if figure}


def _accuracy_against(study: Study, paper: Path, cost: str, label: str) -> Figure | None:
    measured, published, spread = {}, {}, {}
    lines = dict(imagenet_rows(paper))
    plain = study.latency["rows"].get("resnet18")
    for row, line in lines.items():
        published[row] = (
            {
                "flops_g": float(line["flops_g"]),
                "latency_ratio": float(line["latency_cpu_ms"]) / float(lines["resnet18"]["latency_cpu_ms"]),
            }[cost],
            float(line["top1"]),
        )
        values = [run["fused"]["top1"] for run in study.runs(row)]
        counted, timed = study.complexity["rows"].get(row), study.latency["rows"].get(row)
        if cost == "flops_g":
            x = counted["flops"] / 1e9 if counted else None
        else:
            x = timed["median_ms"] / plain["median_ms"] if timed and plain else None
        if values and x is not None:
            measured[row] = x, statistics.fmean(values)
            spread[row] = statistics.stdev(values) if len(values) > 1 else 0
    if not measured:
        return None
    figure, axes = panels(2)
    for axis, points, title in zip(axes, (measured, published), (_measured_on(study), "published, ImageNet")):
        for row, (x, y) in points.items():
            kind, depth = split_model(row)
            look = style(KIND_STYLES[kind]) | {"linestyle": "none", "fillstyle": "full" if depth == 18 else "none"}
            axis.errorbar(x, y, spread.get(row, 0) if points is measured else 0, elinewidth=1, **look)
        axis.set(title=title, xlabel=label, ylabel="top-1 accuracy, %")
        axis.margins(0.12)
    handles = [
        Line2D([], [], **(style(KIND_STYLES[kind]) | {"linestyle": "none"}), label=NAMES[kind]) for kind in KINDS
    ]
    handles += [
        Line2D([], [], color=INK, marker="o", linestyle="none", fillstyle=fill, label=f"{depth} layers")
        for depth, fill in zip(DEPTHS, ("full", "none"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, handletextpad=0.2, columnspacing=1)
    return figure


def _measured_on(study: Study) -> str:
    return f"measured, {study.preset['data']['dataset']}"


def _training_curves(study: Study, paper: Path) -> Figure | None:
    rows = presets.rows(study.preset)
    groups = {
        **{f"ResNet{depth}": [row for row in rows if "-" not in row and row.endswith(str(depth))] for depth in DEPTHS},
        "branches of ResNet18": [row for row in rows if "-" in row],
    }
    detectors = [row for row, _ in detection_rows(paper) if study.detectors(row)]
    for name, title in (("retinanet", "RetinaNet"), ("cascade_rcnn", "Cascade R-CNN")):
        groups[title] = [row for row in detectors if row.startswith(name)]
    curves = {title: {row: _curve(study, row) for row in rows} for title, rows in groups.items()}
    curves = {title: {row: c for row, c in of.items() if c is not None} for title, of in curves.items()}
    curves = {title: of for title, of in curves.items() if of}
    if not curves:
        return None
    columns = min(len(curves), 3)
    figure, axes = panels(columns, -(-len(curves) // columns), 4.2, 4.4)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    for axis, (title, of) in zip(axes, curves.items()):
        for index, (row, (x, mean, low, high)) in enumerate(of.items()):
            kind = row.partition("resnet")[0]
            look = style(KIND_STYLES[kind] if "-" not in row else index)
            label = NAMES[kind] if "-" not in row else _short(row)
            axis.plot(x, mean, **(look if len(x) < 30 else look | {"marker": ""}), label=label)
            axis.fill_between(x, low, high, color=look["color"], alpha=0.12, linewidth=0)
        loss = title in ("RetinaNet", "Cascade R-CNN")
        what = ("iteration", "training loss, mean of 20") if loss else ("epoch", "validation top-1, %")
        axis.set(title=title, xlabel=what[0], ylabel=what[1])
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=7, handlelength=3)
    return figure


def _short(row: str) -> str:
    """A row's name, as short as a legend wants it: "PD-B, Standard1 + Group"; "PD-B inside"."""
    model, *rest = row.split("-")
    if model in ("retinanet", "cascade_rcnn"):
        model, *rest = rest
    kind = NAMES[model.partition("resnet")[0]]
    return f"{kind}, {' + '.join(rest)}" if rest else kind


def _curve(study: Study, row: str) -> tuple | None:
    """x, mean, least and most over seeds: of accuracy by epoch, or a detector's loss by iteration, smoothed."""
    detector = row.split("-")[0] in ("retinanet", "cascade_rcnn")
    runs = study.detectors(row) if detector else study.runs(row)
    logs = [log for run in runs if (log := read_log(run["folder"])) is not None]
    if not logs:
        return None
    key, value = ("iteration", "loss") if detector else ("epoch", "val_top1")
    series = pd.concat([log.set_index(key)[value] for log in logs], axis=1)
    if detector:
        series = series.rolling(20, min_periods=1).mean()
    return series.index, series.mean(axis=1), series.min(axis=1), series.max(axis=1)


def read_log(folder: Path) -> pd.DataFrame | None:
    """The run's `log.csv`; None where it is not here or damaged."""
    try:
        log = pd.read_csv(folder / "log.csv")
    except (OSError, ValueError):
        return None
    return log if len(log) and {"val_top1", "loss"} & set(log) else None


@styled
def sparkline(log: pd.DataFrame) -> Figure:
    """A run's learning curve, small."""
    # Laid out by hand: there are many of them.
    figure = Figure(figsize=(3.2, 1.3), layout="none")
    axis = figure.add_axes((0.15, 0.3, 0.83, 0.65))
    if "val_top1" in log:
        axis.plot(log["epoch"], log["train_top1"], **style(6) | {"marker": ""}, label="training")
        axis.plot(log["epoch"], log["val_top1"], **style(0) | {"markersize": 3}, label="validation")
        axis.set(xlabel="epoch", ylabel="top-1, %")
        axis.legend(fontsize=6)
    else:
        axis.plot(log["iteration"], log["loss"], color=COLOURS[0], linewidth=0.8)
        axis.set(xlabel="iteration", ylabel="loss")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.tick_params(labelsize=7)
    return figure


@styled
def dag(edges: list[tuple[str, str]]) -> Figure:
    """The workflow's rules, from left to right; without the arrows that follow from others."""
    graph = networkx.transitive_reduction(networkx.DiGraph(sorted(edges)))
    columns = list(networkx.topological_generations(graph))
    places = {
        rule: (x, (len(column) - 1) / 2 - y)
        for x, column in enumerate(columns)
        for y, rule in enumerate(sorted(column))
    }
    tallest = max(len(column) for column in columns)
    figure, (axis,) = panels(1, 1, 1.7 * len(columns), 0.8 * tallest + 0.3)
    box = {"boxstyle": "round,pad=0.4", "facecolor": "#dbe9f6", "edgecolor": COLOURS[1]}
    texts = {
        rule: axis.text(*place, rule.replace("_", "\n", 1), ha="center", va="center", bbox=box, color="#101010", size=8)
        for rule, place in places.items()
    }
    for begin, end in sorted(graph.edges):
        arrow = {"arrowstyle": "-|>", "color": INK, "alpha": 0.6, "shrinkA": 1, "shrinkB": 1}
        boxes = {"patchA": texts[begin].get_bbox_patch(), "patchB": texts[end].get_bbox_patch()}
        axis.annotate("", places[end], places[begin], arrowprops=arrow | boxes)
    axis.set_axis_off()
    axis.set(xlim=(-0.6, len(columns) - 0.4), ylim=(-tallest / 2, tallest / 2))
    return figure


def plain(text: str) -> str:
    """As text, where matplotlib would read mathematics between two dollars."""
    return text.replace("$", r"\$")
