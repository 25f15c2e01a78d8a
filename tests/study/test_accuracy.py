import torch
from hypothesis import given
from hypothesis import strategies as st

from paradise.study.accuracy import count_hits


@given(st.integers(0, 100), st.integers(1, 12), st.integers(1, 9))
def test_hits_are_those_of_sorting(seed, classes, batch):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, generator=generator)
    labels = torch.randint(classes, (batch,), generator=generator)
    ranks = [sorted(range(classes), key=lambda index: -line[index]).index(label) for line, label in zip(logits, labels)]
    assert count_hits(logits, labels) == (sum(rank < 1 for rank in ranks), sum(rank < 5 for rank in ranks))
