"""What the report shows of each piece of evidence: three sentences, a table and a figure. No torch here."""

import base64
import io
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from matplotlib.figure import Figure

from paradise import figures
from paradise.claims import mean_interval, sign_test
from paradise.evidence import NAMES, STARTS
from paradise.study import Study
from paradise.tables import signed

SCHEMA = {"type": "object", "required": ["evidence", "machine"]}
# What a record of another version, or one cut short, may raise where it is read.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError, BadZipFile)
TICKETS = "maximum", "magnitude", "fused"
BRANCHES = {"standard1": "Standard1", "standard2": "Standard2", "skeleton": "Skeleton", "group": "Group"}


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    sentences: tuple[str, str, str]
    columns: list[str]
    lines: list[list[str]]
    figure: Figure
    caption: str
    record: str


def sections(study: Study) -> list[Section]:
    """What has been made of the evidence. A damaged record is left out, and said so in `study.damaged`."""
    made = []
    for name in NAMES:
        path = study.results / "evidence" / f"{name}.json"
        record = study.read(path, SCHEMA)
        if record is None:
            continue
        try:
            made.append(SECTIONS[name](study, record))
        except MALFORMED as error:
            study.damaged.append(f"{path} ({error!r})")
    return made


def _section(name: str, title: str, record: dict, **parts) -> Section:
    return Section(name=name, title=title, record=_text(record), **parts)


def _text(record: dict) -> str:
    evidence = {key: "…" if key == "arrays" else value for key, value in record["evidence"].items()}
    return json.dumps(record | {"evidence": evidence}, ensure_ascii=False)


def _lottery(study: Study, record: dict) -> Section:
    curves = record["evidence"]["curves"]
    last = {start: [of[-1] for of in by_seed.values()] for start, by_seed in curves.items()}
    figure = _curves(
        "A plain ResNet18, by what it starts from", {STARTS[start]: list(curves[start].values()) for start in STARTS}
    )
    first = {start: [of[0] for of in by_seed.values()] for start, by_seed in curves.items()}
    lines = [
        [STARTS[start], _spread(first[start], 1), _spread(last[start], 2), *_gain(last[start], last["rest"])]
        for start in STARTS
    ]
    ahead = {
        when: [
            f"“{STARTS[start]}”"
            for start in TICKETS
            if _clearly_more(of[start], of["rest"], record["evidence"]["images"])
        ]
        for when, of in (("first", first), ("last", last))
    }
    seeds, epochs = len(last["random"]), len(next(iter(curves["random"].values())))
    return _section(
        "lottery", "Lottery ticket", record,
        sentences=(
            f"A plain ResNet18 was trained from kernels that the trained PD-A's branches hold, {seeds} seeds each, by "
            f"the plain network's recipe ({epochs} epochs), with every BatchNorm reset.",
            f"After the last epoch it reached {statistics.fmean(last['random']):.2f} % from random weights, "
            f"{statistics.fmean(last['rest']):.2f} % with all but the 3×3 kernels trained, and "
            f"{statistics.fmean(last['maximum']):.2f}, {statistics.fmean(last['magnitude']):.2f} and "
            f"{statistics.fmean(last['fused']):.2f} % from the branches' maximum, largest magnitude and sum.",
            "Ahead of the control with random kernels, by more than the scatter of seeds and images, were after the "
            f"first epoch {' and '.join(ahead['first']) or 'none'}, after the last "
            f"{' and '.join(ahead['last']) or 'none'}; that these kernels had been trained on the same data is part of "
            "any head start.",
        ),
        columns=["Start", "after the first epoch, %", "after the last, %", "over random kernels", "95 % interval"],
        lines=lines, figure=figure,
        caption="Validation accuracy of a plain ResNet18 after each epoch, mean and range over seeds, by its start.",
    )  # fmt: skip


def _curves(title: str, curves: dict[str, list[list[float]]]) -> Figure:
    """Accuracies in % after each epoch, name → seeds → epochs: mean and range over seeds."""
    figure, (axis,) = figures.panels(1, 1, 6.5, 3.8)
    for index, (name, by_seed) in enumerate(curves.items()):
        values, look = np.array(by_seed), figures.style(index)
        epochs = np.arange(1, values.shape[1] + 1)
        axis.plot(epochs, values.mean(0), **look, label=name)
        axis.fill_between(epochs, values.min(0), values.max(0), color=look["color"], alpha=0.12, linewidth=0)
    axis.set(xlabel="epoch", ylabel="validation top-1, %", title=title)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend()
    return figure


def _gain(values: list[float], over: list[float]) -> list[str]:
    """Mean of the differences within a seed, and its interval."""
    if values == over:
        return ["–", "–"]
    paired = [a - b for a, b in zip(values, over)]
    interval = mean_interval(paired)
    return [signed(statistics.fmean(paired), 2), " to ".join(signed(end, 2) for end in interval) if interval else "–"]


def _clearly_more(values: list[float], over: list[float], images: int) -> bool:
    """Whether accuracies in % are above others, seed by seed, by more than both the seeds and the images may vary."""
    interval = mean_interval([a - b for a, b in zip(values, over)])
    mean, other = statistics.fmean(values) / 100, statistics.fmean(over) / 100
    # Of two binomial shares of so many images; by 1.96 standard errors.
    noise = 1.96 * math.sqrt((mean * (1 - mean) + other * (1 - other)) / images)
    return interval is not None and interval[0] > 0 and mean - other > noise


def _perceptrons(study: Study, record: dict) -> Section:
    evidence = record["evidence"]
    names = {
        "plain": "plain", "summed": "summed, PD-A", "gated": "gated, PD-B", "wide": "wide, not fused",
    }  # fmt: skip
    lines, last, curves = [], {}, {}
    for kind, of in evidence["kinds"].items():
        curves[names[kind]] = [run["accuracy"] for run in of["runs"].values()]
        last[kind] = [run["fused_accuracy"] for run in of["runs"].values()]
        first = [accuracy[0] for accuracy in curves[names[kind]]]
        lines.append([
            names[kind], f"{of['params_training']:,}", f"{of['params_fused']:,}", _spread(first, 1),
            _spread(last[kind], 2),
        ])  # fmt: skip
    figure = _curves("Two-layer perceptrons", curves)
    gains = {
        kind: mean_interval([a - b for a, b in zip(last[kind], last["plain"])]) for kind in last if kind != "plain"
    }
    better = [names[kind] for kind, interval in gains.items() if interval and interval[0] > 0]
    means = {kind: statistics.fmean(values) for kind, values in last.items()}
    return _section(
        "perceptrons", "Over-parameterisation", record,
        sentences=(
            f"Perceptrons with {evidence['hidden']} hidden units were trained with plain layers, with "
            f"{evidence['branches']} parallel ones summed or gated, and, as a control, so wide that they have as many "
            f"parameters as the summed one has in training; {len(last['plain'])} seeds each.",
            f"Fused, they reached {means['plain']:.2f} % (plain), {means['summed']:.2f} % (summed, of the plain one's "
            f"size), {means['gated']:.2f} % (gated) and {means['wide']:.2f} % (wide, which stays so).",
            f"Ahead of the plain one by more than the scatter of seeds and images: {', '.join(better)}."
            if better
            else "None is ahead of the plain one by more than the scatter of seeds and images: on these data the "
            "parameters that are there only in training show no worth of their own.",
        ),
        columns=["Layers", "Parameters in training", "fused", "after the first epoch, %", "fused, after the last, %"],
        lines=lines, figure=figure,
        caption="Validation accuracy of two-layer perceptrons after each epoch, mean and range over seeds.",
    )  # fmt: skip


def _diversity(study: Study, record: dict) -> Section:
    evidence = record["evidence"]
    lines, between, kernels = [], {}, {}
    for row, of in evidence["rows"].items():
        names = [BRANCHES[branch] for branch in of["branches"]]
        outside = ~np.eye(len(names), dtype=bool)
        by_layer = {
            what: np.array([layer[f"{what}_similarity"] for layer in of["layers"].values()])
            for what in ("kernel", "output")
        }
        between[row] = by_layer["output"][:, outside].mean()
        kernels[row] = np.abs(by_layer["kernel"][:, outside]).max()
        gate = of.get("gate")
        lines.append([
            _model(row), signed(by_layer["kernel"][:, outside].mean(), 3), signed(between[row], 3), *_gate_cells(gate),
        ])  # fmt: skip
    gated = {row: of["gate"] for row, of in evidence["rows"].items() if "gate" in of}
    worth = [
        f"{_model(row)} {gate['accuracy']:.2f} → {gate['accuracy_frozen']:.2f} % "
        f"(p = {sign_test(gate['right_only_with_gate'], gate['right_only_frozen']):.2f})"
        for row, gate in gated.items()
    ]
    return _section(
        "diversity", "Diversity of the branches, and of the gate's weights", record,
        sentences=(
            "In each block of the trained networks the branches were compared pair by pair: their kernels as fusion "
            "embeds them, by the cosine of their angle, and their outputs on validation images, by correlation.",
            f"No two kernels of a block have a cosine above {max(kernels.values()):.2f} in size; the outputs' mean "
            f"correlation is {min(between.values()):+.2f} to {max(between.values()):+.2f}: the branches compute "
            "different things.",
            "Frozen at its mean weights, where a PD-B fuses to one static kernel and costs nothing at inference, "
            f"accuracy goes: {'; '.join(worth)}."
            if worth
            else "There is no gated network in this study whose gate could be frozen.",
        ),
        columns=[
            "Network", "Cosine of kernels, mean", "Correlation of outputs, mean", "Gate: spread over images",
            "spread of classes' means", "Top-1, %", "gate frozen", "right only with, only frozen",
        ],
        lines=lines, figure=_diversity_figure(evidence),
        caption="Branches of each network: the distribution of kernel entries, likeness of outputs by layer, and the "
        "gate's mean weights by layer.",
    )  # fmt: skip


def _gate_cells(gate: dict | None) -> list[str]:
    if gate is None:
        return ["–"] * 5
    over_images = np.mean([layer["std"] for layer in gate["layers"].values()])
    of_classes = np.mean([np.std(layer["by_class"], axis=0) for layer in gate["layers"].values()])
    return [
        f"{over_images:.3f}", f"{of_classes:.3f}", f"{gate['accuracy']:.2f}", f"{gate['accuracy_frozen']:.2f}",
        f"{gate['right_only_with_gate']}, {gate['right_only_frozen']}",
    ]  # fmt: skip


def _diversity_figure(evidence: dict) -> Figure:
    rows = evidence["rows"]
    figure, axes = figures.panels(3, len(rows), 3.9, 2.6)
    edges = np.array(evidence["edges"])
    for line, (row, of) in enumerate(rows.items()):
        histogram, output, gate = axes[3 * line : 3 * line + 3]
        layers = list(of["layers"].values())
        for index, branch in enumerate(of["branches"]):
            shares = np.mean([layer["histograms"][index] for layer in layers], axis=0)
            look = figures.style(index)
            histogram.plot((edges[1:] + edges[:-1]) / 2, shares, **look | {"marker": ""}, label=BRANCHES[branch])
            if "gate" in of:
                means = [layer["mean"][index] for layer in of["gate"]["layers"].values()]
                spread = [layer["std"][index] for layer in of["gate"]["layers"].values()]
                gate.errorbar(range(1, len(means) + 1), means, spread, **look | {"markersize": 4}, elinewidth=0.8)
        histogram.set(yscale="log", title=_model(row), xlabel="kernel entry ÷ layer's RMS", ylabel="share")
        for other in range(1, len(of["branches"])):
            values = [layer["output_similarity"][0][other] for layer in layers]
            look = figures.style(other)
            output.plot(range(1, len(values) + 1), values, **look | {"markersize": 4})
        output.set(title="correlation with Standard1's output", xlabel="block", ylim=(-1, 1))
        output.axhline(0, color=figures.INK, linewidth=0.6)
        if "gate" in of:
            gate.set(title="gate's weights, mean ± spread", xlabel="block", ylim=(0, 1))
        else:
            gate.set_axis_off()
    axes[0].legend(fontsize=7)
    return figure


def _pruning(study: Study, record: dict) -> Section:
    evidence = record["evidence"]
    rows = evidence["rows"]
    losses = {(row, branch): of["whole"] - of["without"][branch] for row, of in rows.items() for branch in BRANCHES}
    (worst_row, worst), (least_row, least) = max(losses, key=losses.get), min(losses, key=losses.get)
    figure, (axis,) = figures.panels(1, 1, 7, 3.6)
    width = 0.8 / max(len(rows), 1)
    hatches = "", "//", "..", "xx"
    for index, (row, of) in enumerate(rows.items()):
        values = [of["whole"], *(of["without"][branch] for branch in BRANCHES)]
        places = np.arange(len(values)) + (index - (len(rows) - 1) / 2) * width
        axis.bar(
            places, values, width, color=figures.COLOURS[index], hatch=hatches[index % 4], edgecolor=figures.INK,
            linewidth=0.5, label=_model(row),
        )  # fmt: skip
    axis.set_xticks(range(len(BRANCHES) + 1), ["whole", *(f"without\n{name}" for name in BRANCHES.values())])
    axis.set(ylabel="validation top-1, %", ylim=(0, 100))
    figure.legend(loc="outside upper center", ncols=4)
    return _section(
        "pruning", "Pruning the branches", record,
        sentences=(
            f"Each branch was taken out of all blocks of a trained network, which was then fused and evaluated on "
            f"{evidence['images']:,} images without more training.",
            f"Most is lost without {BRANCHES[worst]} in {_model(worst_row)} ({losses[worst_row, worst]:.1f} points), "
            f"least without {BRANCHES[least]} in {_model(least_row)} ({losses[least_row, least]:.1f} points).",
            "The branches had been trained together, so a loss says how much the others had come to rely on a branch, "
            "not what a network trained without it would reach; that is what the second table measures.",
        ),
        columns=["Network", "whole, %", *(f"without {name}" for name in BRANCHES.values())],
        lines=[
            [_model(row), f"{of['whole']:.2f}", *(f"{of['without'][branch]:.2f}" for branch in BRANCHES)]
            for row, of in rows.items()
        ],
        figure=figure, caption="Validation accuracy of trained networks without one of their branches.",
    )  # fmt: skip


def _gradcam(study: Study, record: dict) -> Section:
    evidence = record["evidence"]
    rows, classes = evidence["rows"], evidence["classes"]
    arrays = np.load(io.BytesIO(base64.b64decode(evidence["arrays"])))
    images = arrays["images"] / 255
    side, lines = images.shape[1], len(rows) + 1
    figure, (axis,) = figures.panels(1, 1, 1.1 * len(images) + 0.8, 1.1 * lines)
    shades = np.concatenate(images, 1)
    axis.imshow(np.concatenate([shades, *[shades.mean(2, keepdims=True).repeat(3, 2)] * len(rows)]))
    for line, row in enumerate(rows, start=1):
        for column, heat in enumerate(arrays[row].astype(float)):
            extent = (column * side - 0.5, (column + 1) * side - 0.5, (line + 1) * side - 0.5, line * side - 0.5)
            axis.imshow(heat, cmap="cividis", alpha=0.6, extent=extent, interpolation="bilinear", vmin=0, vmax=1)
    middles = np.arange(max(len(images), lines)) * side + side / 2
    axis.set_xticks(middles[: len(images)], [figures.plain(classes[label])[:14] for label in evidence["labels"]])
    axis.set_yticks(middles[:lines], ["image", *(_model(row).replace("-ResNet18", "") for row in rows)])
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axis.set(xlim=(-0.5, len(images) * side - 0.5), ylim=(lines * side - 0.5, -0.5))
    axis.grid(False)
    axis.spines[:].set_visible(False)
    likeness = {row: of["likeness_to_plain"] for row, of in rows.items() if row in list(rows)[1:]}
    stage = next(iter(rows.values()))["stage"]
    most, least = max(likeness, key=likeness.get), min(likeness, key=likeness.get)
    fine = arrays[next(iter(rows))].shape[-1]
    return _section(
        "gradcam", "Grad-CAM", record,
        sentences=(
            f"Where each network of one depth looks for the true class, by Grad-CAM of {stage}, the deepest stage "
            f"whose maps ({fine}×{fine}) are fine enough to show anything at this image size.",
            f"On {evidence['images']} validation images {_model(most)}'s maps are most like the plain network's "
            f"(correlation {likeness[most]:.2f}), {_model(least)}'s least ({likeness[least]:.2f}).",
            "Maps of one seed differ from those of the next as well, and a map is no measure of accuracy: this is a "
            "look at the networks, not a test of the paper.",
        ),
        columns=["Network", "Stage", "Area above half the maximum", "Correlation with the plain network's"],
        lines=[
            [_model(row), of["stage"], f"{of['share_above_half']:.1%}", f"{of['likeness_to_plain']:.2f}"]
            for row, of in rows.items()
        ],
        figure=figure,
        caption="Grad-CAM of the same validation images, one row a network: light where the class is looked for.",
    )  # fmt: skip


def _spread(values: list[float], decimals: int) -> str:
    mean = f"{statistics.fmean(values):.{decimals}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{decimals}f}"


def _model(row: str) -> str:
    """As the paper writes it: "PD-B-ResNet18"."""
    kind, _, depth = row.partition("resnet")
    return kind.upper().replace("_", "-") + f"ResNet{depth}"


SECTIONS: dict[str, Callable[[Study, dict], Section]] = {
    "lottery": figures.styled(_lottery),
    "perceptrons": figures.styled(_perceptrons),
    "diversity": figures.styled(_diversity),
    "pruning": figures.styled(_pruning),
    "gradcam": figures.styled(_gradcam),
}
