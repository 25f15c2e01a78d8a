"""Grad-CAM: the maps of the networks of one depth over the same images, one row a network."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from paradise.study import figures
from paradise.study.evidence.section import Section
from paradise.study.records import EvidenceRecord
from paradise.study.results import Study
from paradise.study.rows import Row


def show(study: Study, record: EvidenceRecord) -> Section:
    """Grad-CAM's section of the report."""
    evidence = record.evidence
    networks = {Row.parse(row): of for row, of in evidence["rows"].items()}
    arrays: Mapping[str, np.ndarray] = np.load(io.BytesIO(base64.b64decode(evidence["arrays"])))
    plain, *others = networks
    likeness = {row: networks[row]["likeness_to_plain"] for row in others}
    most, least = max(others, key=likeness.__getitem__), min(others, key=likeness.__getitem__)
    side = arrays[plain.id].shape[-1]
    return Section(
        record,
        sentences=(
            f"Where each network of one depth looks for the true class, by Grad-CAM of {networks[plain]['stage']}, the "
            f"deepest stage whose maps ({side}×{side}) are fine enough to show anything at this image size.",
            f"On {evidence['images']} validation images {most.label}'s maps are most like the plain network's "
            f"(correlation {likeness[most]:.2f}), {least.label}'s least ({likeness[least]:.2f}).",
            "Maps of one seed differ from those of the next as well, and a map is no measure of accuracy: this is a "
            "look at the networks, not a test of the paper.",
        ),
        columns=["Network", "Stage", "Area above half the maximum", "Correlation with the plain network's"],
        lines=[
            [row.label, of["stage"], f"{of['share_above_half']:.1%}", f"{of['likeness_to_plain']:.2f}"]
            for row, of in networks.items()
        ],
        figure=_draw(list(networks), arrays, evidence),
        caption="Grad-CAM of the same validation images, one row a network: light where the class is looked for.",
    )


def _draw(rows: list[Row], arrays: Mapping[str, np.ndarray], evidence: dict[str, Any]) -> Figure:
    images = arrays["images"] / 255
    side, lines = images.shape[1], len(rows) + 1
    figure, (axis,) = figures.panels(1, 1, 1.1 * len(images) + 0.8, 1.1 * lines)
    strip = np.concatenate(images, 1)
    axis.imshow(np.concatenate([strip, *[strip.mean(2, keepdims=True).repeat(3, 2)] * len(rows)]))
    for line, row in enumerate(rows, start=1):
        for column, heat in enumerate(arrays[row.id].astype(float)):
            extent = (column * side - 0.5, (column + 1) * side - 0.5, (line + 1) * side - 0.5, line * side - 0.5)
            axis.imshow(heat, cmap="cividis", alpha=0.6, extent=extent, interpolation="bilinear", vmin=0, vmax=1)
    middles = np.arange(max(len(images), lines)) * side + side / 2
    axis.set_xticks(
        middles[: len(images)], [figures.plain(evidence["classes"][label])[:14] for label in evidence["labels"]]
    )
    axis.set_yticks(middles[:lines], ["image", *(row.label if row == row.plain else row.family for row in rows)])
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axis.set(xlim=(-0.5, len(images) * side - 0.5), ylim=(lines * side - 0.5, -0.5))
    axis.grid(False)
    axis.spines[:].set_visible(False)
    return figure
