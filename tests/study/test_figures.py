"""Figures: one style, the same bytes each time, and told apart without colour."""

from pathlib import Path

import pytest
from PIL import Image
from scipy import stats
from written import IMAGES, make_preset, make_study

import paradise.models
from paradise.names import list_kinds
from paradise.study import figures
from paradise.study.results import Study


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_series_are_told_apart_without_colour():
    looks = [figures.style(i) for i in range(len(figures.COLOURS))]
    assert len({look["marker"] for look in looks}) == len({str(look["linestyle"]) for look in looks}) == len(looks)
    assert len({figures.kind_style(kind)["color"] for kind in list_kinds()}) == 6


def test_a_new_kind_of_network_has_the_next_free_style(tmp_path, monkeypatch):
    used = {figures.kind_style(kind)["color"] for kind in list_kinds()}
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "zz.py").touch()
    monkeypatch.setattr(paradise.models, "__path__", [*paradise.models.__path__, str(tmp_path / "more")])
    assert figures.kind_style("zz")["color"] not in used
    assert figures.kind_style("pd_a")["color"] in used


def test_accuracy_stands_against_cost_measured_beside_published():
    hits = {"resnet18 seed0": 340, "resnet18 seed1": 350}
    preset = make_study(seeds=[0, 1], right=lambda run: [i < hits.get(str(run), 345) for i in range(IMAGES)])
    figure, text = figures.study_figures(Study(preset))["accuracy-flops"]
    measured, published = figure.axes
    assert (measured.get_title(), published.get_title()) == ("measured, digits", "published, ImageNet")
    assert len(measured.containers) == len(published.containers) == 12
    (x,), (y,) = measured.containers[0].lines[0].get_data()
    assert (x, y) == (1.822176768, pytest.approx(100 * 345 / 360))
    (segment,) = measured.containers[0].lines[2][0].get_segments()
    assert segment[1][1] - segment[0][1] == pytest.approx(2 * 100 * 10 / 360 / 2**0.5), "± a standard deviation"
    (x,), (y,) = published.containers[5].lines[0].get_data()
    assert (x, y) == (1.822, pytest.approx(72.09, abs=0.01))
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "ResNet",
        "SE",
        "GE",
        "AC",
        "PD-A",
        "PD-B",
        "18 layers",
        "50 layers",
    ]
    assert text.endswith(".")


def test_latency_is_over_the_plain_network_with_eighteen_layers():
    figure, _ = figures.study_figures(Study(make_study()))["accuracy-latency"]
    measured, published = figure.axes
    assert {container.lines[0].get_xdata()[0] for container in measured.containers} == {1.0, 1.25}
    assert published.containers[5].lines[0].get_xdata()[0] == pytest.approx(14 / 12)


def test_all_rows_have_a_training_curve():
    figure, _ = figures.study_figures(Study(make_study(seeds=[0, 1])))["training"]
    used = [axis for axis in figure.axes if axis.lines]
    assert [axis.get_title() for axis in used] == [
        "ResNet18",
        "ResNet50",
        "branches of ResNet18",
        "RetinaNet",
        "Cascade R-CNN",
    ]
    assert [len(axis.lines) for axis in used] == [6, 6, 7, 4, 4]
    assert all(list(line.get_ydata()[:3]) == [40, 70, 80] for axis in used[:3] for line in axis.lines)
    labels = [[text.get_text() for text in axis.get_legend().texts] for axis in used]
    assert labels[0] == ["ResNet", "SE", "GE", "AC", "PD-A", "PD-B"]
    assert labels[2][0] == "PD-A, standard1 + standard2"
    assert labels[3] == ["ResNet", "PD-A", "PD-B", "PD-B inside"]
    assert used[3].get_ylabel() == "training loss, mean of 20"


def test_a_curve_is_the_mean_and_the_range_over_seeds():
    preset = make_study(["resnet18"], seeds=[0, 1])
    log = preset.results / "resnet18" / "seed1" / "log.csv"
    text = log.read_text().splitlines()
    study = Study(preset)
    assert len(study.runs(preset.classifiers[0])) == 2  # judged now; its log changes after that
    log.write_text("\n".join([*text[:2], "2,0.01,0.5,75.0,79.0,100.0"]) + "\n")
    (axis,) = [axis for axis in figures.study_figures(study)["training"][0].axes if axis.lines]
    assert list(axis.lines[0].get_ydata()) == [40, 74.5, 80]
    (band,) = axis.collections
    assert {70.0, 79.0} <= {y for path in band.get_paths() for x, y in path.vertices if x == 2}


def test_the_gain_is_over_the_plain_network_seed_by_seed_with_students_interval():
    preset = make_study(["resnet18", "pd_a_resnet18"], seeds=[0, 1, 2])
    study = Study(preset)
    assert all(len(study.runs(row)) == 3 for row in preset.classifiers)  # judged now; their logs change after that
    for seed, gain in enumerate((1.0, 2.0, 4.0)):
        for row, add in (("resnet18", 0), ("pd_a_resnet18", gain)):
            log = preset.results / row / f"seed{seed}" / "log.csv"
            header, *lines = log.read_text().splitlines()
            changed = [line.split(",") for line in lines]
            rewritten = [",".join([*line[:4], str(50 + int(line[0]) * add), line[5]]) for line in changed]
            log.write_text("\n".join([header, *rewritten]) + "\n")
    (axis,) = figures.study_figures(study)["gain"][0].axes
    (container,) = axis.containers
    assert list(container.lines[0].get_ydata()) == pytest.approx([7 / 3, 14 / 3, 7])
    low, high = stats.ttest_1samp([3, 6, 12], 0).confidence_interval(0.95)
    segment = container.lines[2][0].get_segments()[2]
    assert (segment[0][1], segment[1][1]) == pytest.approx((low, high))


def test_accuracy_stands_against_minutes_of_training():
    overrides = {"resnet18-longer": {"epochs": 8}}
    preset = make_study(["resnet18", "resnet18-longer", "pd_a_resnet18-standard1-standard2"], overrides=overrides)
    study = Study(preset)
    (axis,) = figures.study_figures(study)["accuracy-minutes"][0].axes
    assert [text.get_text() for text in axis.get_legend().texts] == ["ResNet18", "ResNet18, trained longer"]
    run = study.runs(preset.classifiers[1])[0]
    (x,), (y,) = axis.containers[1].lines[0].get_data()
    assert (x, y) == (run.record.seconds / 60, run.evaluation.fused.top1)


@pytest.mark.parametrize("count", [1, 5, 20, 50])
def test_a_smoothed_value_is_the_mean_of_the_last_twenty(count):
    values = [float(7 * index % 11) for index in range(count)]
    expected = [sum(values[max(0, i - 19) : i + 1]) / min(i + 1, 20) for i in range(count)]
    assert figures.smoothed(values) == pytest.approx(expected)


def test_nothing_measured_is_nothing_drawn():
    assert figures.study_figures(Study(make_preset())) == {}


@pytest.mark.parametrize(
    "text", ["", "epoch,val_top1\n", "no,columns\n1,2\n", "iteration,loss\n1,x\n", "iteration,loss\n1\n"]
)
def test_a_damaged_log_is_no_curve(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    assert figures.read_log(tmp_path) is None


def test_figures_are_saved_for_papers_and_slides_and_are_the_same_each_time(tmp_path):
    preset, written = make_study(), []
    for name in ("a", "b"):
        drawn = figures.study_figures(Study(preset))
        figures.save(figures.draw({key: figure for key, (figure, _) in drawn.items()}), tmp_path / name)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {
        f"{name}.{kind}"
        for name in ("accuracy-flops", "accuracy-latency", "accuracy-minutes", "training")
        for kind in ("svg", "png")
    }
    assert Image.open(tmp_path / "a" / "accuracy-flops.png").width > 800
