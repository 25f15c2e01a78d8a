"""The claims on accuracy at a glance: each comparison a line, with its interval, what was published, and a verdict."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from paradise.study.claims import MARGIN, Claim, ClaimsTable, Comparison
from paradise.study.figures import INK, styled
from paradise.study.statistics import LEVEL

WIDTH = 4.8  # inches: text keeps its size on a phone
HEADING, LINE, FOOT = 0.3, 0.44, 0.95  # inches of a claim's sentence, of a comparison, and of the axis with its legend
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
    height = FOOT + HEADING * len(claims) + LINE * len(compared)
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.add_subplot()
    low, high = _span(compared)
    axis.set_xlim(low, high)
    axis.axvspan(-MARGIN, MARGIN, color="#8a8a8a", alpha=0.25, linewidth=0)
    axis.axvline(0, color=INK, linewidth=0.8)
    depth = 0.0
    for claim in claims:
        axis.text(low, -(depth + HEADING * 0.75), claim.sentence, fontsize=7.5, fontweight="bold", va="center")
        depth += HEADING
        for one in claim.tested:
            _draw_line(axis, claim, one, depth, low, high)
            depth += LINE
    axis.set_ylim(-depth, 0)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("points of top-1 accuracy: right of 0 as the paper says")
    return figure


def _draw_line(axis, claim: Claim, one: Comparison, depth: float, low: float, high: float) -> None:  # type: ignore[no-untyped-def]
    """A comparison: what and its verdict in the upper half of its line, the interval in the lower one."""
    words, marks = -(depth + LINE * 0.3), -(depth + LINE * 0.72)
    axis.text(low, words, one.what, fontsize=7.5, va="center")
    axis.text(high, words, one.verdict, fontsize=7.5, va="center", ha="right", fontstyle="italic")
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
