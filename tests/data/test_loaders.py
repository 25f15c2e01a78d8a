import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradise.data.loaders import share_batch
from paradise.errors import UserError


def test_the_published_batch_on_eight_gpus_and_on_fewer():
    recipe = {"batch_size": 256, "device_batch_size": 32}
    for processes, passes in ((8, 1), (4, 2), (2, 4), (1, 8)):
        batch = share_batch(recipe, 1_281_167, 0, processes)
        assert (batch.passes, batch.images) == (passes, 32)
        assert batch.steps(1_281_167) == 5004


@given(st.integers(1, 300), st.integers(1, 9), st.none() | st.integers(1, 40))
def test_a_step_is_shared_without_rest_or_refused(size, processes, per_pass):
    recipe = {"batch_size": size} | ({"device_batch_size": per_pass} if per_pass else {})
    try:
        batch = share_batch(recipe, 300, 0, processes)
    except UserError:
        assert size % (processes * (per_pass or max(size // processes, 1)))
    else:
        assert batch.processes * batch.passes * batch.images == batch.size == size


def test_what_does_not_divide_is_refused():
    with pytest.raises(UserError, match="batch_size 256 is no multiple of 3 processes × 32 images"):
        share_batch({"batch_size": 256, "device_batch_size": 32}, 1000, 0, 3)
    with pytest.raises(UserError, match="batch_size 8 is no multiple of 9 processes × 1 images"):
        share_batch({"batch_size": 8}, 1000, 0, 9)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match="batch_size 81 is more than the 80 training images"):
        share_batch({"batch_size": 81}, 80, 0, 1)
