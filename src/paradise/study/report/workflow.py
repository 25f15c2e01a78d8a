"""How the steps of a study hang together, as a figure: from left to right, no arrow through a step."""

from collections import defaultdict
from collections.abc import Iterable
from graphlib import TopologicalSorter
from itertools import pairwise

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line

from paradise.study.figures import COLOURS, INK, panels, styled
from paradise.study.stale import Survey

Edge = tuple[str, str]
Point = tuple[float, float]
Placed = str | tuple[Edge, int]  # a step, or where an arrow passes a column
HALF_WIDTH, HALF_HEIGHT = 0.34, 0.3  # of a step's box, where columns and lines are 1 apart
SWEEPS = 4  # over all columns, to have few crossings


def list_edges(survey: Survey, last: str) -> list[Edge]:
    """The steps that lead to the step `last`, each with the ones that take what it makes."""
    makers = {path: job.step.name for job in survey.jobs.values() for path in (*job.outputs, *job.vouched.values())}
    before: dict[str, set[str]] = defaultdict(set)
    for job in survey.jobs.values():
        before[job.step.name] |= {makers[path] for path in job.needs if path in makers}
    wanted, waiting = {last}, [last]
    while waiting:
        new = before[waiting.pop()] - wanted
        wanted |= new
        waiting += sorted(new)
    return sorted((first, then) for then in wanted for first in before[then])


def reduce_edges(edges: Iterable[Edge]) -> list[Edge]:
    """Without the edges that follow from others: the transitive reduction."""
    after = _after(edges)
    reach: dict[str, set[str]] = {}
    for step in TopologicalSorter(after).static_order():  # what comes after a step before it
        reach[step] = after[step].union(*(reach[then] for then in after[step]))
    return sorted(
        (first, then)
        for first in after
        for then in after[first]
        if not any(then in reach[other] for other in after[first])
    )


def lay_out(edges: Iterable[Edge]) -> tuple[dict[str, Point], dict[Edge, list[Point]]]:
    """Where each step stands, and the corners of each arrow.

    A step stands in the last column from which its successors can be reached. An arrow over several columns has a line
    of its own in each of them, so that it passes between the steps.

    Args:
        edges: Without those that follow from others.

    Returns:
        The centre of each step's box, and for each edge the points from box to box.
    """
    edges = list(edges)
    after = _after(edges)
    left: dict[str, int] = {}  # columns to the right of a step
    for step in TopologicalSorter(after).static_order():
        left[step] = max((left[then] + 1 for then in after[step]), default=0)
    columns: list[list[Placed]] = [[] for _ in range(max(left.values()) + 1)]
    column = {step: len(columns) - 1 - steps for step, steps in left.items()}
    for step in sorted(column):
        columns[column[step]].append(step)
    chains: dict[Edge, list[Placed]] = {}
    for first, then in edges:
        between = [((first, then), at) for at in range(column[first] + 1, column[then])]
        chains[first, then] = [first, *between, then]
        for one in between:
            columns[one[1]].append(one)
    _order(columns, chains.values())
    places = {one: (float(x), (len(of) - 1) / 2 - y) for x, of in enumerate(columns) for y, one in enumerate(of)}
    routes = {edge: _route([places[one] for one in chain]) for edge, chain in chains.items()}
    return {one: place for one, place in places.items() if isinstance(one, str)}, routes


@styled
def draw_workflow(edges: Iterable[Edge]) -> Figure:
    """The figure of steps and the edges between them; without the arrows that follow from others."""
    places, routes = lay_out(reduce_edges(edges))
    points = [*places.values(), *(point for route in routes.values() for point in route)]
    width, height = max(x for x, _ in places.values()), max(y for _, y in points)
    figure, (axis,) = panels(1, 1, 1.7 * (width + 1), 0.8 * (2 * height + 1) + 0.3)
    for step, (x, y) in places.items():
        box = FancyBboxPatch(
            (x - HALF_WIDTH, y - HALF_HEIGHT),
            2 * HALF_WIDTH,
            2 * HALF_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="#dbe9f6",
            edgecolor=COLOURS[1],
        )
        axis.add_patch(box)
        axis.text(x, y, step.replace("_", "\n", 1), ha="center", va="center", color="#101010", size=8)
    for route in routes.values():
        arrow = FancyArrowPatch(
            path=Line(route), arrowstyle="-|>", mutation_scale=10, color=INK, alpha=0.6, shrinkA=0, shrinkB=0
        )
        axis.add_patch(arrow)
    axis.set_axis_off()
    axis.set(xlim=(-0.5, width + 0.5), ylim=(-height - 0.5, height + 0.5))
    return figure


def _after(edges: Iterable[Edge]) -> dict[str, set[str]]:
    """What comes after each step."""
    after: dict[str, set[str]] = defaultdict(set)
    for first, then in edges:
        after[first].add(then)
        after[then] |= set()
    return after


def _order(columns: list[list[Placed]], chains: Iterable[list[Placed]]) -> None:
    """Puts what is in a column beside what it is joined to in the next, by the mean of the places there."""
    joined: dict[Placed, list[Placed]] = defaultdict(list)
    for chain in chains:
        for one, other in pairwise(chain):
            joined[one].append(other)
            joined[other].append(one)
    for sweep in range(SWEEPS):
        for of in columns if sweep % 2 else reversed(columns):
            at = {one: y - (len(column) - 1) / 2 for column in columns for y, one in enumerate(column)}
            means = {one: sum(at[other] for other in joined[one]) / len(joined[one]) for one in of}
            of.sort(key=means.__getitem__)


def _route(places: list[Point]) -> list[Point]:
    """From the right side of the first box to the left side of the last, level where it passes a column."""
    (x, y), *between, (last_x, last_y) = places
    passing = [(at + side, line) for at, line in between for side in (-HALF_WIDTH, HALF_WIDTH)]
    return [(x + HALF_WIDTH, y), *passing, (last_x - HALF_WIDTH, last_y)]
