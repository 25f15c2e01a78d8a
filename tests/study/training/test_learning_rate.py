import pytest

from paradise.study.preset import Recipe
from paradise.study.training.schedule import learning_rate


def rates(steps_per_epoch=10, **recipe):
    unseen = {"batch_size": 16, "momentum": 0.9, "weight_decay": 1e-4, "precision": "float32"}
    given = {"epochs": 10, "learning_rate": 0.1, "warmup_epochs": 0.0, "schedule": "cosine"} | unseen | recipe
    whole = Recipe(**given)
    return [learning_rate(whole, step, steps_per_epoch) for step in range(whole.epochs * steps_per_epoch)]


def test_the_papers_steps():
    """Section 5 of the method: ÷ 10 at epochs 30, 60 and 90 of 100, no warm-up."""
    values = rates(epochs=100, schedule=[30, 60, 90])
    assert values[0] == values[299] == 0.1
    assert values[300] == pytest.approx(0.01) == values[599]
    assert values[600] == pytest.approx(0.001)
    assert values[900] == pytest.approx(0.0001) == values[-1]


def test_cosine_falls_from_the_peak_to_zero():
    values = rates()
    assert values[0] == pytest.approx(0.1, rel=0.01)
    assert values[49] == pytest.approx(0.05)
    assert values[-1] == pytest.approx(0, abs=1e-12)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", [5]])
def test_warm_up_is_linear(schedule):
    values = rates(warmup_epochs=2.5, schedule=schedule)
    assert values[:24] == pytest.approx([0.1 * (step + 1) / 25 for step in range(24)])
    assert max(values) == pytest.approx(0.1)


def test_a_warm_up_as_long_as_the_run_is_allowed():
    assert rates(epochs=1, warmup_epochs=1)[-1] == pytest.approx(0.1)
