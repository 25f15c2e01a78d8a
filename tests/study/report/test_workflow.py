"""The figure of the workflow: the steps' own edges, no arrow that follows from others, and none through a step."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import make_preset

from paradise.study.report.workflow import (
    HALF_HEIGHT,
    HALF_WIDTH,
    draw_workflow,
    lay_out,
    list_edges,
    reduce_edges,
)
from paradise.study.stale import Survey

edges_of_graphs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25).map(
    lambda pairs: sorted({(f"step{a}", f"step{b}") for a, b in pairs if a < b} | {("step0", "step9")})
)


def reachable(edges) -> set[tuple[str, str]]:
    found = set(edges)
    while new := {(a, d) for a, b in found for c, d in found if b == c} - found:
        found |= new
    return found


def crossed(edges) -> list[tuple[tuple[str, str], str]]:
    """The arrows that run through the box of a step, by points close to each other along them."""
    places, routes = lay_out(edges)
    found = []
    for edge, route in routes.items():
        for (x0, y0), (x1, y1) in pairwise(route):
            for part in range(101):
                x, y = x0 + (x1 - x0) * part / 100, y0 + (y1 - y0) * part / 100
                for step, (at, line) in places.items():
                    if abs(x - at) < HALF_WIDTH - 1e-9 and abs(y - line) < HALF_HEIGHT - 1e-9:
                        found.append((edge, step))
    return found


@given(edges_of_graphs)
def test_an_edge_is_left_out_exactly_where_others_lead_there(edges):
    reduced = reduce_edges(edges)
    assert reachable(reduced) == reachable(edges)
    for edge in reduced:
        assert edge not in reachable([other for other in reduced if other != edge])


@given(edges_of_graphs)
def test_no_arrow_runs_through_a_step_and_all_lead_to_the_right(edges):
    assert crossed(reduce_edges(edges)) == []
    places, routes = lay_out(reduce_edges(edges))
    assert len(set(places.values())) == len(places)
    for (first, then), route in routes.items():
        assert route[0] == (places[first][0] + HALF_WIDTH, places[first][1])
        assert route[-1] == (places[then][0] - HALF_WIDTH, places[then][1])
        assert all(x0 < x1 for (x0, _), (x1, _) in pairwise(route))


@pytest.fixture
def survey(tmp_path, monkeypatch) -> Survey:
    monkeypatch.chdir(tmp_path)
    return Survey(make_preset())


def test_the_arrows_are_the_steps_own(survey):
    reduced = reduce_edges(list_edges(survey, "report"))
    assert reduced == [
        ("complexity", "table"),
        ("evaluate", "table"),
        ("evaluate_detector", "table"),
        ("fuse", "evaluate"),
        ("latency", "table"),
        ("prepare", "train"),
        ("prepare_detection", "profile_detectors"),
        ("prepare_detection", "train_detector"),
        ("profile_detectors", "table"),
        ("table", "report"),
        ("train", "fuse"),
        ("train", "train_detector"),
        ("train_detector", "evaluate_detector"),
    ]
    assert crossed(reduced) == []


def test_evidence_is_drawn_where_it_was_made(survey):
    path = Path("results/digits/evidence/pruning.json")
    path.parent.mkdir(parents=True)
    path.touch()
    edges = list_edges(Survey(survey.preset), "report")
    assert ("make_evidence", "report") in edges


def test_a_step_is_a_box_and_an_edge_an_arrow():
    figure = draw_workflow([("prepare", "train"), ("train", "evaluate_detector"), ("prepare", "evaluate_detector")])
    (axis,) = figure.axes
    assert {text.get_text() for text in axis.texts} == {"prepare", "train", "evaluate\ndetector"}
    assert [type(patch).__name__ for patch in axis.patches] == ["FancyBboxPatch"] * 3 + ["FancyArrowPatch"] * 2
