"""The claims on accuracy at a glance: each comparison a line, with its interval, what was published, and a verdict."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from matplotlib.figure import Figure

from paradise.study.claims import MARGIN, ClaimsTable, Comparison
from paradise.study.figures import INK, styled
from paradise.study.statistics import LEVEL

WIDTH = 4.8  # inches: text keeps its size on a phone
HEADING, LINE, FOOT = 0.17, 0.42, 0.6  # inches of a line of a claim's sentence, of a comparison, and of the axis
LETTERS = 72  # in a line of a sentence
WORDS: dict[str, Any] = {"fontsize": 7.5, "va": "center", "in_layout": False}
CAPTION = (
    f"Difference in accuracy, fused networks: measured, with its {LEVEL:.0%} interval over seeds and images (●), and "
    f"published, of ImageNet (◇). Inside the grey band, ±{MARGIN} points, a difference does not matter."
)


@styled
def draw_forest(table: ClaimsTable) -> Figure | None:
    """The figure; None where no comparison of accuracy has an interval."""
    claims = [claim for claim in table.tested if claim.unit == "points"]
    compared = [one for claim in claims for one in claim.tested]
    if not any(one.interval for one in compared):
        return None
    sentences = [wrap(claim.sentence, LETTERS) for claim in claims]
    height = FOOT + HEADING * sum(len(lines) + 1 for lines in sentences) + LINE * len(compared)
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_subplot()
    low, high = _span(compared)
    axis.set_xlim(low, high)
    axis.axvspan(-MARGIN, MARGIN, color="#8a8a8a", alpha=0.25, linewidth=0)
    axis.axvline(0, color=INK, linewidth=0.8)
    depth = 0.0
    for claim, lines in zip(claims, sentences):
        depth += HEADING
        for line in lines:
            axis.text(low, -(depth + HEADING / 2), line, fontweight="bold", **WORDS)
            depth += HEADING
        for one in claim.tested:
            _draw_line(axis, one, depth, low, high)
            depth += LINE
    axis.set_ylim(-depth, 0)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("difference in top-1 accuracy, points (● measured, ◇ published)")
    return figure


def _draw_line(axis: Any, one: Comparison, depth: float, low: float, high: float) -> None:
    """A comparison: what and its verdict in the upper half of its line, the interval in the lower one."""
    words, marks = -(depth + LINE * 0.3), -(depth + LINE * 0.72)
    axis.text(low, words, one.what, **WORDS)
    axis.text(high, words, one.verdict, ha="right", fontstyle="italic", **WORDS)
    if one.published is not None:
        axis.plot(one.published, marks, marker="D", markersize=5, fillstyle="none", color=INK, linestyle="none")
    if one.interval:
        axis.plot(one.interval, (marks, marks), color=INK, linewidth=1.4)
    if one.effect is not None:
        axis.plot(one.effect, marks, marker="o", markersize=5, color=INK, linestyle="none")


def _span(compared: Sequence[Comparison]) -> tuple[float, float]:
    """From the lowest to the highest number that is drawn, with a little room."""
    values = [-2 * MARGIN, 2 * MARGIN]
    for one in compared:
        values += [value for value in (one.published, one.effect, *(one.interval or ())) if value is not None]
    room = 0.04 * (max(values) - min(values))
    return min(values) - room, max(values) + room
