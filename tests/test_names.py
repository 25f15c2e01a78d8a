import itertools

import pytest
from conftest import PAPER, ROWS

from paradise.errors import UserError
from paradise.names import BRANCHES, ablation_rows, imagenet_rows, list_models, parse_row, row_of


def test_models_are_the_rows_of_the_first_table():
    assert list_models() == [row for row, _ in imagenet_rows(PAPER)]
    assert len(list_models()) == 12


def test_shared_rows_are_one_training():
    pairs = [pair[:2] for pair in ablation_rows(PAPER)]
    assert pairs[0] == ("resnet18", None)
    assert pairs[3][0] == "ac_resnet18"
    assert pairs[5] == ("pd_a_resnet18", "pd_b_resnet18")
    assert len(ROWS) == len(set(ROWS)) == 19


def test_published_figures_of_shared_rows_agree():
    """The reason for training them once (method, section 2)."""
    imagenet = dict(imagenet_rows(PAPER))
    for summed, gated, line in ablation_rows(PAPER):
        for row, kind in ((summed, "pd_a"), (gated, "pd_b")):
            if row in imagenet:
                assert imagenet[row]["top1"] == line[f"{kind}_top1"]
                assert imagenet[row]["top5"] == line[f"{kind}_top5"]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_named_by_its_model_and_branches(row):
    name, branches = parse_row(row)
    assert row == (name if branches is None else row_of(name, branches))


def test_the_order_in_which_branches_are_given_does_not_matter():
    for branches in itertools.permutations(("group", "standard1", "skeleton")):
        assert row_of("pd_b_resnet18", branches) == "pd_b_resnet18-standard1-skeleton-group"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("pd_c_resnet18", "unknown model 'pd_c_resnet18'; did you mean 'pd_"),
        ("resnet81", "did you mean 'resnet18'"),
        ("vgg", "choose from resnet18, "),
        ("pd_a_resnet18-standard1-skeletton", "did you mean 'skeleton'"),
        ("pd_a_resnet18-group", "needs the branch 'standard1'"),
        ("pd_a_resnet18-standard1-group-group", "twice"),
        ("pd_b_resnet18-standard1", "two branches or more"),
        ("resnet18-standard1", "no branches to choose"),
        ("pd_a_resnet18-standard1-skeleton", "is called 'ac_resnet18'"),
        ("pd_a_resnet18-" + "-".join(BRANCHES), "is called 'pd_a_resnet18'"),
        ("pd_a_resnet18-group-standard1", "is called 'pd_a_resnet18-standard1-group'"),
    ],
)
def test_a_wrong_row_is_refused_by_name(row, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        parse_row(row)
