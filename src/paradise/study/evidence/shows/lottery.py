"""Lottery ticket: learning curves by what a training starts from, and what it gains over random kernels."""

import math
import statistics

from paradise.study.evidence.section import Section, draw_curves, spread
from paradise.study.records import EvidenceRecord
from paradise.study.results import Study
from paradise.study.statistics import mean_interval
from paradise.study.table import signed

TITLES = {
    "random": "random weights",
    "rest": "random kernels, the rest trained",
    "maximum": "element-wise maximum of the branches",
    "magnitude": "element-wise largest magnitude",
    "fused": "the fused kernel",
}
TICKETS = "maximum", "magnitude", "fused"
BySeed = dict[str, list[float]]  # start → seed by seed, accuracy in %


def show(study: Study, record: EvidenceRecord) -> Section:
    """The lottery's section of the report."""
    curves = {start: list(by_seed.values()) for start, by_seed in record.evidence["curves"].items()}
    first = {start: [curve[0] for curve in by_seed] for start, by_seed in curves.items()}
    last = {start: [curve[-1] for curve in by_seed] for start, by_seed in curves.items()}
    return Section(
        record,
        sentences=_sentences(first, last, epochs=len(curves["random"][0]), images=record.evidence["images"]),
        columns=["Start", "after the first epoch, %", "after the last, %", "over random kernels", "95 % interval"],
        lines=[
            [title, spread(first[start], 1), spread(last[start], 2), *_gain(last[start], last["rest"])]
            for start, title in TITLES.items()
        ],
        figure=draw_curves(
            "A plain ResNet18, by what it starts from", {title: curves[start] for start, title in TITLES.items()}
        ),
        caption="Validation accuracy of a plain ResNet18 after each epoch, mean and range over seeds, by its start.",
    )


def _sentences(first: BySeed, last: BySeed, epochs: int, images: int) -> tuple[str, str, str]:
    means = {start: f"{statistics.fmean(values):.2f}" for start, values in last.items()}
    ahead_first, ahead_last = (
        " and ".join(f"“{TITLES[start]}”" for start in TICKETS if _clearly_more(of[start], of["rest"], images))
        or "none"
        for of in (first, last)
    )
    return (
        f"A plain ResNet18 was trained from kernels that the trained PD-A's branches hold, {len(last['random'])} seeds "
        f"each, by the plain network's recipe ({epochs} epochs), with every BatchNorm reset.",
        f"After the last epoch it reached {means['random']} % from random weights, {means['rest']} % with all but the "
        f"3×3 kernels trained, and {means['maximum']}, {means['magnitude']} and {means['fused']} % from the branches' "
        "maximum, largest magnitude and sum.",
        "Ahead of the control with random kernels, by more than the scatter of seeds and images, were after the first "
        f"epoch {ahead_first}, after the last {ahead_last}; that these kernels had been trained on the same data is "
        "part of any head start.",
    )


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
