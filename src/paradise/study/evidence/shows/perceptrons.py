"""Over-parameterisation: learning curves of perceptrons, and whether one is ahead of the plain one."""

import statistics
from typing import Any

from paradise.study.evidence.section import Section, draw_curves, spread
from paradise.study.records import EvidenceRecord
from paradise.study.results import Study
from paradise.study.statistics import mean_interval

TITLES = {"plain": "plain", "summed": "summed, PD-A", "gated": "gated, PD-B", "wide": "wide, not fused"}


def show(study: Study, record: EvidenceRecord) -> Section:
    """The perceptrons' section of the report."""
    kinds = record.evidence["kinds"]
    curves = {kind: [run["accuracy"] for run in of["runs"].values()] for kind, of in kinds.items()}
    last = {kind: [run["fused_accuracy"] for run in of["runs"].values()] for kind, of in kinds.items()}
    return Section(
        record,
        sentences=_sentences(record.evidence, last),
        columns=["Layers", "Parameters in training", "fused", "after the first epoch, %", "fused, after the last, %"],
        lines=[
            [
                TITLES[kind],
                f"{of['params_training']:,}",
                f"{of['params_fused']:,}",
                spread([curve[0] for curve in curves[kind]], 1),
                spread(last[kind], 2),
            ]
            for kind, of in kinds.items()
        ],
        figure=draw_curves("Two-layer perceptrons", {TITLES[kind]: of for kind, of in curves.items()}),
        caption="Validation accuracy of two-layer perceptrons after each epoch, mean and range over seeds.",
    )


def _sentences(evidence: dict[str, Any], last: dict[str, list[float]]) -> tuple[str, str, str]:
    means = {kind: statistics.fmean(values) for kind, values in last.items()}
    gains = {
        kind: mean_interval([a - b for a, b in zip(values, last["plain"])])
        for kind, values in last.items()
        if kind != "plain"
    }
    better = [TITLES[kind] for kind, interval in gains.items() if interval and interval[0] > 0]
    return (
        f"Perceptrons with {evidence['hidden']} hidden units were trained with plain layers, with "
        f"{evidence['branches']} parallel ones summed or gated, and, as a control, so wide that they have as many "
        f"parameters as the summed one has in training; {len(last['plain'])} seeds each.",
        f"Fused, they reached {means['plain']:.2f} % (plain), {means['summed']:.2f} % (summed, of the plain one's "
        f"size), {means['gated']:.2f} % (gated) and {means['wide']:.2f} % (wide, which stays so).",
        f"Ahead of the plain one by more than the scatter of seeds and images: {', '.join(better)}."
        if better
        else "None is ahead of the plain one by more than the scatter of seeds and images: on these data the "
        "parameters that are there only in training show no worth of their own.",
    )
