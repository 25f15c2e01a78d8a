"""The claims on accuracy as a picture."""

from pathlib import Path

import pytest
from written import make_study

from paradise.study.claims import claims_table
from paradise.study.forest import draw_forest
from paradise.study.results import Study


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_comparison_is_a_line_with_its_interval_its_published_effect_and_its_verdict():
    rows = ["resnet18", "pd_a_resnet18", "pd_b_resnet18"]
    table = claims_table(Study(make_study(rows, seeds=[0, 1, 2])))
    figure = draw_forest(table)
    (axis,) = figure.axes
    compared = [one for claim in table.tested for one in claim.tested if claim.unit == "points"]
    texts = [text.get_text() for text in axis.texts]
    assert [one.what for one in compared] == [
        "PD-B-ResNet18 − ResNet18",
        "PD-A-ResNet18 − ResNet18",
        "PD-B-ResNet18 − PD-A-ResNet18",
    ]
    for one in compared:
        assert texts[texts.index(one.what) + 1] == one.verdict
        drawn = [list(line.get_xdata()) for line in axis.lines]
        assert [one.published] in drawn and [one.effect] in drawn and list(one.interval) in drawn
    assert texts[0] == "ParaDise is more accurate than the plain network."
    assert axis.get_xlim()[0] < min(one.interval[0] for one in compared)
    (band,) = axis.patches
    assert (band.get_x(), band.get_width()) == (-0.5, 1)
    assert figure.get_figwidth() < 5, "on a phone"


def test_without_intervals_nothing_is_drawn():
    assert draw_forest(claims_table(Study(make_study(["resnet18", "pd_a_resnet18"], seeds=[0, 1])))) is None
