"""Intervals and tests against scipy's and statsmodels'."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from paradise.study.records import Timing
from paradise.study.statistics import holm, mean_interval, ratio_of_medians, sign_test

counts = st.integers(0, 300)


@given(counts, counts)
def test_the_sign_test_is_mcnemars_exact_one(better, worse):
    expected = mcnemar([[1, better], [worse, 1]], exact=True).pvalue
    assert sign_test(better, worse) == pytest.approx(expected if better + worse else 1.0, rel=1e-12)


@given(counts, counts)
def test_the_sign_test_is_the_exact_binomial_one(better, worse):
    expected = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert sign_test(better, worse) == pytest.approx(expected, rel=1e-12)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12))
def test_the_interval_is_students(values):
    low, high = mean_interval(values)
    if np.ptp(values) < 1e-9:
        assert low == pytest.approx(high)
    else:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((expected.low, expected.high))


def test_one_value_has_no_interval():
    assert mean_interval([3.0]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_p_values_are_adjusted_by_holms_method(values):
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1].tolist())


def test_of_no_p_values_none_is_adjusted():
    assert holm([]) == []


def test_the_interval_of_a_ratio_of_medians_holds_the_true_ratio_about_as_often_as_it_says():
    generator, inside = np.random.default_rng(0), 0
    for _ in range(400):
        rows = []
        for scale in (12, 10):
            times = scale * (1 + generator.normal(0, 0.1, 100))
            quartiles = np.quantile(times, [0.25, 0.75]).tolist()
            rows.append(Timing(median_ms=float(np.median(times)), quartiles_ms=quartiles, ratio=1.0))
        ratio, low, high = ratio_of_medians(*rows, 100)
        assert ratio == rows[0].median_ms / rows[1].median_ms
        inside += low <= 1.2 <= high
    # Of 400 that are right 95 times of 100, between 369 and 390, 99 times of 100.
    assert 369 <= inside <= 390
