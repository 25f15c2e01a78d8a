"""Pruning the branches: accuracy of each network, whole and without each of its branches."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paradise.names import BRANCHES
from paradise.study import figures
from paradise.study.evidence.section import Section
from paradise.study.records import EvidenceRecord
from paradise.study.results import Study
from paradise.study.rows import Row

TITLES = {branch: branch.title() for branch in BRANCHES}
HATCHES = "", "//", "..", "xx"


def show(study: Study, record: EvidenceRecord) -> Section:
    """The pruning's section of the report."""
    networks = {Row.parse(row): of for row, of in record.evidence["rows"].items()}
    losses = {(row, branch): of["whole"] - of["without"][branch] for row, of in networks.items() for branch in BRANCHES}
    (most_row, most), (least_row, least) = max(losses, key=losses.__getitem__), min(losses, key=losses.__getitem__)
    return Section(
        record,
        sentences=(
            f"Each branch was taken out of all blocks of a trained network, which was then fused and evaluated on "
            f"{record.evidence['images']:,} images without more training.",
            f"Most is lost without {TITLES[most]} in {most_row.label} ({losses[most_row, most]:.1f} points), least "
            f"without {TITLES[least]} in {least_row.label} ({losses[least_row, least]:.1f} points).",
            "The branches had been trained together, so a loss says how much the others had come to rely on a branch, "
            "not what a network trained without it would reach; that is what the second table measures.",
        ),
        columns=["Network", "whole, %", *(f"without {title}" for title in TITLES.values())],
        lines=[[row.label, *(f"{accuracy:.2f}" for accuracy in _accuracies(of))] for row, of in networks.items()],
        figure=_draw(networks),
        caption="Validation accuracy of trained networks without one of their branches.",
    )


def _accuracies(of: dict[str, Any]) -> list[float]:
    """Of a network, whole, then without each branch."""
    return [of["whole"], *(of["without"][branch] for branch in BRANCHES)]


def _draw(networks: dict[Row, dict[str, Any]]) -> Figure:
    figure, (axis,) = figures.panels(1, 1, 7, 3.6)
    width = 0.8 / max(len(networks), 1)
    for index, (row, of) in enumerate(networks.items()):
        values = _accuracies(of)
        axis.bar(
            np.arange(len(values)) + (index - (len(networks) - 1) / 2) * width,
            values,
            width,
            color=figures.COLOURS[index],
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor=figures.INK,
            linewidth=0.5,
            label=row.label,
        )
    axis.set_xticks(range(len(BRANCHES) + 1), ["whole", *(f"without\n{title}" for title in TITLES.values())])
    axis.set(ylabel="validation top-1, %", ylim=(0, 100))
    figure.legend(loc="outside upper center", ncols=4)
    return figure
