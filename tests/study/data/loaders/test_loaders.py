import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradise.errors import UserError
from paradise.study.data.loaders import share_batch
from paradise.study.preset import Recipe


def recipe(batch_size: int, device_batch_size: int | None = None) -> Recipe:
    return Recipe(
        epochs=1,
        batch_size=batch_size,
        device_batch_size=device_batch_size,
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=0.0,
        warmup_epochs=0.0,
        schedule="cosine",
        precision="float32",
    )


def test_the_published_batch_on_eight_gpus_and_on_fewer():
    for processes, passes in ((8, 1), (4, 2), (2, 4), (1, 8)):
        batch = share_batch(recipe(256, 32), 1_281_167, 0, processes)
        assert (batch.passes, batch.images) == (passes, 32)
        assert batch.steps(1_281_167) == 5004


@given(st.integers(2, 300), st.integers(1, 9), st.none() | st.integers(2, 40))
def test_a_step_is_shared_without_rest_or_refused(size, processes, per_pass):
    try:
        batch = share_batch(recipe(size, per_pass), 300, 0, processes)
    except UserError:
        assert size % (processes * (per_pass or max(size // processes, 1)))
    else:
        assert batch.processes * batch.passes * batch.images == batch.size == size


def test_what_does_not_divide_is_refused():
    for sizes, processes, per_pass in (((256, 32), 3, 32), ((8,), 9, 1)):
        with pytest.raises(UserError) as refused:
            share_batch(recipe(*sizes), 1000, 0, processes)
        numbers = f"batch_size {sizes[0]} is no multiple of {processes} processes × {per_pass} images"
        assert str(refused.value) == f"{numbers}; change one of the three"


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match=r"^batch_size 81 is more than the 80 training images$"):
        share_batch(recipe(81), 80, 0, 1)
