import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paradise.errors import UserError
from paradise.study.accuracy import Differences, count_hits


@given(st.integers(0, 100), st.integers(1, 12), st.integers(1, 9))
def test_hits_are_those_of_sorting(seed, classes, batch):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, generator=generator)
    labels = torch.randint(classes, (batch,), generator=generator)
    ranks = [sorted(range(classes), key=lambda index: -line[index]).index(label) for line, label in zip(logits, labels)]
    assert count_hits(logits, labels) == (sum(rank < 1 for rank in ranks), sum(rank < 5 for rank in ranks))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("batch", [0, 1])
def test_a_difference_from_what_is_no_number_is_refused(value, form, batch):
    differences = Differences("a run")
    outputs = [[torch.ones(2, 3), torch.ones(2, 3)] for _ in range(2)]
    outputs[batch][form][1, 2] = value
    with pytest.raises(UserError, match=f"a run: the {('trained', 'fused')[form]} form gives NaN or infinity"):
        for both in outputs:
            differences.add(*both)


def test_the_difference_is_the_largest_of_all_batches_and_relative_to_the_largest_output():
    differences = Differences("a run")
    differences.add(torch.tensor([[-4.0, 1.0]]), torch.tensor([[-4.0, 1.5]]))
    differences.add(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]))
    assert differences.values() == {"largest": 4.0, "difference": 1.0, "relative": 0.25}


def test_nothing_but_zeros_is_refused():
    differences = Differences("a run")
    differences.add(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(UserError, match="a run: the trained form gives nothing but zeros"):
        differences.values()
