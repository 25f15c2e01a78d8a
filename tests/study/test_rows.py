"""Rows as values: what they are called, and which of them are one training."""

import itertools
from pathlib import Path

import pytest
from conftest import PAPER, ROWS

from paradise import list_models
from paradise.errors import UserError
from paradise.names import BRANCHES, DEPTHS
from paradise.study.paper import read_paper
from paradise.study.rows import DetectorRow, Row, Run


def test_models_are_the_rows_of_the_first_table():
    assert sorted(list_models()) == sorted(row.id for row in read_paper(PAPER).imagenet)
    assert len(list_models()) == 12


def test_shared_rows_are_one_training():
    ablation = read_paper(PAPER).ablation
    assert (ablation[0].summed, ablation[0].gated) == (Row("plain", 18), None)
    assert ablation[3].summed == Row("ac", 18)
    assert (ablation[5].summed, ablation[5].gated) == (Row("pd_a", 18), Row("pd_b", 18))
    assert len(ROWS) == len(set(ROWS)) == 19


def test_published_figures_of_shared_rows_agree():
    """The reason for training them once (method, section 2)."""
    paper, shared = read_paper(PAPER), []
    for ablation in paper.ablation:
        for row, kind in ((ablation.summed, "pd_a"), (ablation.gated, "pd_b")):
            if row in paper.imagenet:
                shared.append(row)
                assert paper.imagenet[row]["top1"] == ablation.line[f"{kind}_top1"]
                assert paper.imagenet[row]["top5"] == ablation.line[f"{kind}_top5"]
    assert shared == [Row("plain", 18), Row("ac", 18), Row("pd_a", 18), Row("pd_b", 18)]


@pytest.mark.parametrize("text", ROWS)
def test_a_row_is_what_its_name_says(text):
    row = Row.parse(text)
    assert row.id == str(row) == row.place == text
    assert row == (Row(row.kind, row.depth) if row.whole else Row.of(row.kind, row.depth, row.branches))


def test_a_plain_network_that_is_trained_longer_is_a_row_of_its_own():
    row = Row.parse("resnet18-longer")
    assert row == Row("plain", 18, longer=True) != row.plain == Row("plain", 18)
    assert row.id == str(row) == row.place == "resnet18-longer"
    assert (row.model, row.label, row.whole) == ("resnet18", "ResNet18, trained longer", False)
    for text in ("pd_a_resnet18-longer", "se_resnet18-longer", "resnet18-longer-longer", "resnet18-standard1-longer"):
        with pytest.raises(UserError):
            Row.parse(text)


def test_the_order_in_which_branches_are_given_does_not_matter():
    for branches in itertools.permutations(("group", "standard1", "skeleton")):
        assert Row.of("pd_b", 18, branches).id == "pd_b_resnet18-standard1-skeleton-group"


@pytest.mark.parametrize("depth", DEPTHS)
def test_branches_that_are_a_model_of_the_first_table_are_that_model(depth):
    assert Row.of("pd_a", depth, ("standard1",)) == Row("plain", depth)
    assert Row.of("pd_a", depth, ("skeleton", "standard1")) == Row("ac", depth)
    assert Row.of("pd_a", depth, BRANCHES) == Row("pd_a", depth)
    assert Row.of("pd_b", depth, reversed(BRANCHES)) == Row("pd_b", depth)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pd_c_resnet18", "unknown model 'pd_c_resnet18'; did you mean 'pd_b_resnet18'?"),
        ("resnet81", "unknown model 'resnet81'; did you mean 'resnet18'?"),
        ("vgg", f"unknown model 'vgg'; choose from {', '.join(list_models())}"),
        (
            "pd_a_resnet18-standard1-skeletton",
            "unknown branch 'skeletton' of 'pd_a_resnet18'; did you mean 'skeleton'?",
        ),
        ("pd_a_resnet18-group", "'pd_a_resnet18' needs the branch 'standard1'; given: group"),
        (
            "pd_a_resnet18-standard1-group-group",
            "'pd_a_resnet18' was given a branch twice: standard1, group, group",
        ),
        (
            "pd_b_resnet18-standard1",
            "'pd_b_resnet18' needs two branches or more: over one, its gate is the constant 1",
        ),
        ("resnet18-standard1", "'resnet18' has no branches to choose; only pd_a_ and pd_b_ models do"),
        (
            "pd_a_resnet18-standard1-skeleton",
            "the row 'pd_a_resnet18-standard1-skeleton' is called 'ac_resnet18'",
        ),
        (
            "pd_a_resnet18-standard1-standard2-skeleton-group",
            "the row 'pd_a_resnet18-standard1-standard2-skeleton-group' is called 'pd_a_resnet18'",
        ),
        (
            "pd_a_resnet18-group-standard1",
            "the row 'pd_a_resnet18-group-standard1' is called 'pd_a_resnet18-standard1-group'",
        ),
    ],
)
def test_a_wrong_row_is_refused_by_name(text, message):
    with pytest.raises(UserError) as error:
        Row.parse(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "family", "label", "whole", "has_all_branches"),
    [
        ("resnet50", "ResNet", "ResNet50", True, False),
        ("ac_resnet18", "AC", "AC-ResNet18", True, False),
        ("pd_a_resnet18", "PD-A", "PD-A-ResNet18", True, True),
        (
            "pd_b_resnet18-standard1-skeleton",
            "PD-B",
            "PD-B-ResNet18, Standard1 + Skeleton",
            False,
            False,
        ),
    ],
)
def test_what_a_row_is_printed_as(text, family, label, whole, has_all_branches):
    row = Row.parse(text)
    assert (row.family, row.label, row.whole, row.has_all_branches) == (family, label, whole, has_all_branches)
    assert row.plain == Row("plain", row.depth)


def test_a_row_builds_its_network():
    network = Row.parse("pd_b_resnet18-standard1-group").build(7)
    assert network.fc.out_features == 7
    assert network.layer1[0].conv1.branch_names == ("standard1", "group")


@pytest.mark.parametrize(
    ("text", "row", "label", "title", "family", "cost"),
    [
        (
            "retinanet-resnet50",
            DetectorRow("retinanet", Row("plain", 50)),
            "RetinaNet, ResNet50",
            "RetinaNet",
            "ResNet",
            0,
        ),
        (
            "retinanet-pd_a_resnet50",
            DetectorRow("retinanet", Row("pd_a", 50)),
            "RetinaNet, PD-A-ResNet50",
            "RetinaNet",
            "PD-A",
            1,
        ),
        (
            "cascade_rcnn-pd_b_resnet50-inside",
            DetectorRow("cascade_rcnn", Row("pd_b", 50), inside=True),
            "Cascade R-CNN, PD-B-ResNet50 and inside",
            "Cascade R-CNN",
            "PD-B inside",
            3,
        ),
    ],
)
def test_detectors(text, row, label, title, family, cost):
    assert DetectorRow.parse(text) == row
    assert (row.id, str(row), row.place, row.label) == (text, text, f"detection/{text}", label)
    assert (row.title, row.family, row.cost) == (title, family, cost)
    assert row.plain == DetectorRow(row.detector, Row("plain", 50))


def test_rows_as_the_paper_prints_them():
    assert Row.printed("PD-B-ResNet18") == Row("pd_b", 18)
    assert Row.printed("ResNet50") == Row("plain", 50)
    printed = DetectorRow.printed("Cascade R-CNN", "PD-A-ResNet50")
    assert printed == DetectorRow("cascade_rcnn", Row("pd_a", 50), inside=False)


def test_a_run_is_of_seed_0_unless_it_says_another():
    assert Run(Row("plain", 18)) == Run(Row("plain", 18), 0)


def test_a_wrong_detector_is_refused_by_name():
    with pytest.raises(UserError, match=r"^unknown detector 'retinant'; did you mean 'retinanet'\?$"):
        DetectorRow.parse("retinant-resnet50")
    with pytest.raises(UserError, match=r"^unknown model 'resnet51'; did you mean 'resnet50'\?$"):
        DetectorRow.parse("retinanet-resnet51")


@pytest.mark.parametrize(
    ("run", "place", "anchor"),
    [
        (Run(Row("pd_a", 18), 3), "pd_a_resnet18/seed3", "pd_a_resnet18-seed3"),
        (Run(Row("plain", 50), None), "resnet50/imported", "resnet50-imported"),
        (
            Run(DetectorRow("retinanet", Row("pd_b", 50))),
            "detection/retinanet-pd_b_resnet50/seed0",
            "detection-retinanet-pd_b_resnet50-seed0",
        ),
    ],
)
def test_runs(run, place, anchor):
    assert (run.place, run.anchor) == (place, anchor)
    assert run.folder(Path("results/digits")) == Path("results/digits") / place
    assert str(run) == f"{run.row} {run.name}"
