"""Diversity: likeness of the branches' kernels and outputs, and what a gate is worth over its mean weights."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paradise.study import figures
from paradise.study.evidence.section import Section
from paradise.study.records import EvidenceRecord
from paradise.study.results import Study
from paradise.study.rows import Row
from paradise.study.statistics import sign_test
from paradise.study.table import signed

Networks = dict[Row, dict[str, Any]]  # what was measured of each


def show(study: Study, record: EvidenceRecord) -> Section:
    """The diversity's section of the report."""
    networks = {Row.parse(row): of for row, of in record.evidence["rows"].items()}
    kernels = {row: _between_branches(of, "kernel_similarity") for row, of in networks.items()}
    outputs = {row: _between_branches(of, "output_similarity").mean() for row, of in networks.items()}
    return Section(
        record,
        sentences=(
            "In each block of the trained networks the branches were compared pair by pair: their kernels as fusion "
            "embeds them, by the cosine of their angle, and their outputs on validation images, by correlation.",
            f"No two kernels of a block have a cosine above {max(np.abs(of).max() for of in kernels.values()):.2f} in "
            f"size; the outputs' mean correlation is {min(outputs.values()):+.2f} to {max(outputs.values()):+.2f}: the "
            "branches compute different things.",
            _worth_of_gates(networks),
        ),
        columns=[
            "Network",
            "Cosine of kernels, mean",
            "Correlation of outputs, mean",
            "Gate: spread over images",
            "spread of classes' means",
            "Top-1, %",
            "gate frozen",
            "right only with, only frozen",
        ],
        lines=[
            [row.label, signed(kernels[row].mean(), 3), signed(outputs[row], 3), *_gate_cells(of.get("gate"))]
            for row, of in networks.items()
        ],
        figure=_draw(networks, np.array(record.evidence["edges"])),
        caption="Branches of each network: the distribution of kernel entries, likeness of outputs by layer, and the "
        "gate's mean weights by layer.",
    )


def _between_branches(of: dict[str, Any], likeness: str) -> np.ndarray:
    """The likeness [layers, n² − n] of each branch to each other one."""
    by_layer = np.array([layer[likeness] for layer in of["layers"].values()])
    return by_layer[:, ~np.eye(len(of["branches"]), dtype=bool)]


def _worth_of_gates(networks: Networks) -> str:
    worth = [
        f"{row.label} {gate['accuracy']:.2f} → {gate['accuracy_frozen']:.2f} % "
        f"(p = {sign_test(gate['right_only_with_gate'], gate['right_only_frozen']):.2f})"
        for row, of in networks.items()
        if (gate := of.get("gate"))
    ]
    if not worth:
        return "There is no gated network in this study whose gate could be frozen."
    return (
        "Frozen at its mean weights, where a PD-B fuses to one static kernel and costs nothing at inference, accuracy "
        f"goes: {'; '.join(worth)}."
    )


def _gate_cells(gate: dict[str, Any] | None) -> list[str]:
    if gate is None:
        return ["–"] * 5
    over_images = np.mean([layer["std"] for layer in gate["layers"].values()])
    of_classes = np.mean([np.std(layer["by_class"], axis=0) for layer in gate["layers"].values()])
    return [
        f"{over_images:.3f}",
        f"{of_classes:.3f}",
        f"{gate['accuracy']:.2f}",
        f"{gate['accuracy_frozen']:.2f}",
        f"{gate['right_only_with_gate']}, {gate['right_only_frozen']}",
    ]


def _draw(networks: Networks, edges: np.ndarray) -> Figure:
    """Three panels a network: histograms of its kernels, likeness of its outputs, weights of its gates."""
    figure, axes = figures.panels(3, len(networks), 3.9, 2.6)
    for line, (row, of) in enumerate(networks.items()):
        histograms, outputs, gates = axes[3 * line : 3 * line + 3]
        _draw_histograms(histograms, of, edges)
        histograms.set(yscale="log", title=row.label, xlabel="kernel entry ÷ layer's RMS", ylabel="share")
        _draw_outputs(outputs, of)
        if "gate" in of:
            _draw_gates(gates, of)
        else:
            gates.set_axis_off()
    axes[0].legend(fontsize=7)
    return figure


def _draw_histograms(axis: Axes, of: dict[str, Any], edges: np.ndarray) -> None:
    for index, branch in enumerate(of["branches"]):
        shares = np.mean([layer["histograms"][index] for layer in of["layers"].values()], axis=0)
        style = figures.style(index) | {"marker": ""}
        axis.plot((edges[1:] + edges[:-1]) / 2, shares, **style, label=branch.title())


def _draw_outputs(axis: Axes, of: dict[str, Any]) -> None:
    for index in range(1, len(of["branches"])):
        values = [layer["output_similarity"][0][index] for layer in of["layers"].values()]
        axis.plot(range(1, len(values) + 1), values, **figures.style(index) | {"markersize": 4})
    axis.set(title="correlation with Standard1's output", xlabel="block", ylim=(-1, 1))
    axis.axhline(0, color=figures.INK, linewidth=0.6)


def _draw_gates(axis: Axes, of: dict[str, Any]) -> None:
    layers = of["gate"]["layers"].values()
    for index in range(len(of["branches"])):
        means, spreads = ([layer[key][index] for layer in layers] for key in ("mean", "std"))
        style = figures.style(index) | {"markersize": 4}
        axis.errorbar(range(1, len(means) + 1), means, spreads, **style, elinewidth=0.8)
    axis.set(title="gate's weights, mean ± spread", xlabel="block", ylim=(0, 1))
