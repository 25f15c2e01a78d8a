"""Intervals and tests against scipy's and statsmodels'."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from paradise.study.records import Timing
from paradise.study.statistics import (
    CrossedMean,
    crossed_mean,
    holm,
    mean_interval,
    probability_of_better,
    ratio_of_medians,
    sign_test,
)

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
            rows.append(Timing(times_ms=(scale * (1 + generator.normal(0, 0.1, 100))).tolist()))
            lower, upper = rows[-1].quartiles_ms
            assert lower < rows[-1].median_ms < upper
        ratio, low, high = ratio_of_medians(*rows)
        assert ratio == rows[0].median_ms / rows[1].median_ms
        inside += low <= 1.2 <= high
    # Of 400 that are right 95 times of 100, between 369 and 390, 99 times of 100.
    assert 369 <= inside <= 390


# Seeds, scatter of the seeds, variance of their interaction with images, correlation of two networks' hard images
LAYOUTS = [
    (seeds, scatter, interaction, shared)
    for seeds in (3, 5, 10)
    for scatter, interaction, shared in [(0, 0, 0.9), (0, 1, 0.9), (0.03, 0, 0.5), (0.03, 1, 0.9), (0.1, 0.5, 0.3)]
]


def simulate(seeds, scatter, interaction, shared, generator, images=500, effect=0.2):
    """Differences of hits of two networks, [S, N], in percent, and their true mean.

    A network is right on an image where a normal value is positive: the image's own, the seed's and that of both.
    """
    common, right = generator.normal(0, shared**0.5, images), []
    for shift in (effect, 0):
        own = common + generator.normal(0, (1 - shared) ** 0.5, images)
        of_seeds = generator.normal(0, scatter, (seeds, 1)) if scatter else 0
        of_both = generator.normal(0, interaction**0.5, (seeds, images)) if interaction else np.zeros((seeds, 1))
        right.append(shift + own + of_seeds + of_both > 0)
    spread = (1 + scatter**2 + interaction) ** 0.5
    truth = 100 * (stats.norm.cdf(effect / spread) - 0.5)
    return 100.0 * right[0] - 100.0 * right[1], truth


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_interval_over_seeds_and_images_covers_as_often_as_it_says(layout):
    generator, times = np.random.default_rng(LAYOUTS.index(layout)), 2000
    covered = 0
    for _ in range(times):
        differences, truth = simulate(*layout, generator)
        low, high = crossed_mean(differences).interval
        covered += low <= truth <= high
    assert covered / times >= 0.94
    if layout[0] >= 5:
        assert covered / times <= 0.98


def crossed(seed=0, **changes):
    values, _ = simulate(
        **({"seeds": 5, "scatter": 0.05, "interaction": 0.5, "shared": 0.8} | changes),
        generator=np.random.default_rng(seed),
    )
    return crossed_mean(values)


@given(st.integers(0, 1000), st.integers(2, 6), st.floats(-0.3, 0.3))
def test_p_is_what_the_interval_leaves_out(seed, seeds, effect):
    found = crossed(seed, seeds=seeds, effect=effect)
    low, high = found.interval
    assert (found.p < 0.05) == (low > 0 or high < 0)
    margin = 1.7 * abs(found.mean) + 1e-3
    at_90 = found._reach(0.05)
    assert (found.p_outside(margin) < 0.05) == (abs(found.mean) + at_90 < margin)
    assert found.p_outside(abs(found.mean) / 2) >= 0.5


def test_where_images_do_not_matter_it_is_students_t_over_seeds():
    generator = np.random.default_rng(0)
    values = np.repeat(generator.normal(1, 2, (4, 1)), 50, axis=1)
    found = crossed_mean(values)
    expected = stats.ttest_1samp(values[:, 0], 0)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval == pytest.approx((expected.confidence_interval().low, expected.confidence_interval().high))


def test_where_seeds_do_not_matter_it_is_the_normal_interval_over_images():
    values = np.repeat(np.random.default_rng(0).normal(0.1, 1, (1, 400)), 3, axis=0)
    found = crossed_mean(values)
    error = values[0].std(ddof=1) / 20
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(values.mean()) / error), rel=1e-9)
    assert found.of_seeds == pytest.approx(0)


def test_variances_are_those_of_the_two_way_layout():
    """Against statsmodels' analysis of variance of the same table."""
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    values, _ = simulate(4, 0.2, 0.5, 0.7, np.random.default_rng(1), images=30)
    table = pd.DataFrame(values).stack().rename_axis(["seed", "image"]).rename("value").reset_index()
    squares = anova_lm(ols("value ~ C(seed) + C(image)", table).fit())["mean_sq"]
    found = crossed_mean(values)
    assert found.of_seeds * 30 == pytest.approx(squares["C(seed)"])
    assert found.of_images * 4 * 30 == pytest.approx(squares["C(image)"] - squares["Residual"])


def test_more_seeds_decide_what_the_images_do_not_leave_open():
    open_ = CrossedMean(mean=0.6, seeds=3, of_seeds=0.5, of_images=0.01)
    needed = open_.seeds_to_decide(0.5)
    assert open_.p > 0.05 and needed > 3
    assert CrossedMean(0.6, needed, 0.5, 0.01).p < 0.05 < CrossedMean(0.6, needed - 1, 0.5, 0.01).p
    assert CrossedMean(0.1, 3, 0.5, 0.01).seeds_to_decide(0.5) is not None, "it would be told from the margin"
    assert CrossedMean(0.5, 3, 0.5, 0.2).seeds_to_decide(0.5) is None, "the images alone leave it open"
    shared = open_.seeds_to_decide(0.5, comparisons=4)
    assert CrossedMean(0.6, shared, 0.5, 0.01).p < 0.05 / 4 < CrossedMean(0.6, shared - 1, 0.5, 0.01).p


def test_the_smallest_effect_seen_is_seen_with_the_power_that_is_said():
    of_seeds, of_images, seeds = 0.25, 0.02, 50
    smallest = CrossedMean(0, seeds, of_seeds, of_images).smallest_seen()
    means = np.random.default_rng(0).normal(smallest, (of_seeds / seeds + of_images) ** 0.5, 4000)
    seen = np.mean([CrossedMean(mean, seeds, of_seeds, of_images).p < 0.05 for mean in means])
    assert seen == pytest.approx(0.8, abs=0.03)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_the_probability_of_better_is_mann_whitneys(values, others):
    expected = stats.mannwhitneyu(values, others).statistic / (len(values) * len(others))
    assert probability_of_better(values, others) == pytest.approx(expected)
