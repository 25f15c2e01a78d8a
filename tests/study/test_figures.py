"""Figures: one style, the same bytes each time, and told apart without colour."""

import pandas as pd
import pytest
from conftest import PAPER, write_run
from PIL import Image

from paradise.study import figures
from paradise.study.results import Study


def write_logs(results):
    for path in results.glob("*/seed*/run.json"):
        lines = {"epoch": [1, 2], "train_top1": [50, 60.5], "val_top1": [40, 70.5]}
        pd.DataFrame(lines).to_csv(path.with_name("log.csv"), index=False)


def test_series_are_told_apart_without_colour():
    looks = [figures.style(i) for i in range(len(figures.COLOURS))]
    assert len({look["marker"] for look in looks}) == len({str(look["linestyle"]) for look in looks}) == len(looks)
    assert len(set(figures.KIND_STYLES.values())) == 6


def test_accuracy_stands_against_cost_measured_beside_published(recorded, digits_preset):
    digits_preset["seeds"] = [0, 1]
    write_run(recorded, digits_preset, "resnet18", 1, hits=350)
    figure, text = figures.figures(Study(digits_preset, recorded), PAPER)["accuracy-flops"]
    measured, published = figure.axes
    assert "digits" in measured.get_title() and "ImageNet" in published.get_title()
    assert len(measured.containers) == len(published.containers) == 12
    (x,), (y,) = measured.containers[0].lines[0].get_data()
    assert (x, y) == (1.822176768, pytest.approx(100 * 345 / 360))
    (segment,) = measured.containers[0].lines[2][0].get_segments()
    assert segment[1][1] - segment[0][1] == pytest.approx(2 * 100 * 10 / 360 / 2**0.5), "± a standard deviation"
    (x,), (y,) = published.containers[5].lines[0].get_data()
    assert (x, y) == (1.822, pytest.approx(72.09, abs=0.01))
    assert text.endswith(".")


def test_all_rows_have_a_training_curve(recorded, digits_preset):
    assert "training" not in figures.figures(Study(digits_preset, recorded), PAPER)
    write_logs(recorded)
    figure, _ = figures.figures(Study(digits_preset, recorded), PAPER)["training"]
    assert [len(axis.lines) for axis in figure.axes] == [6, 6, 7]
    assert all(list(line.get_ydata()) == [40, 70.5] for axis in figure.axes for line in axis.lines)


def test_nothing_measured_is_nothing_drawn(tmp_path, digits_preset):
    assert figures.figures(Study(digits_preset, tmp_path), PAPER) == {}


@pytest.mark.parametrize("text", ["", "epoch,val_top1\n", "no,columns\n1,2\n"])
def test_a_damaged_log_is_no_curve(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    assert figures.read_log(tmp_path) is None


def test_figures_are_saved_for_papers_and_slides_and_are_the_same_each_time(recorded, digits_preset, tmp_path):
    written = []
    for name in ("a", "b"):
        drawn = figures.figures(Study(digits_preset, recorded), PAPER)
        figures.save(figures.draw({key: figure for key, (figure, _) in drawn.items()}), tmp_path / name)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {
        f"{name}.{kind}" for name in ("accuracy-flops", "accuracy-latency") for kind in ("svg", "png")
    }
    assert Image.open(tmp_path / "a" / "accuracy-flops.png").width > 800


def test_the_workflow_is_drawn_without_arrows_that_follow_from_others():
    figure = figures.dag([("prepare", "train"), ("train", "evaluate"), ("prepare", "evaluate")])
    (axis,) = figure.axes
    assert {text.get_text() for text in axis.texts if text.get_text()} == {"prepare", "train", "evaluate"}
    assert sum(not text.get_text() for text in axis.texts) == 2
