"""Intervals and tests, by SciPy's special functions, loaded where seeds are compared: they take a fifth of a second."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from paradise.study.records import Timing

if TYPE_CHECKING:
    import numpy as np

ERROR = 0.05  # how often a difference is seen where there is none
LEVEL = 1 - ERROR
POWER = 0.8  # with which the smallest effect that a study sees would have been seen
MOST_SEEDS = 1000  # that are reckoned with


@dataclass(frozen=True)
class CrossedMean:
    """A mean over seeds and images, both drawn at random and crossed: every seed is evaluated on the same images.

    Attributes:
        mean: The mean.
        seeds: How many seeds it is of, S.
        of_seeds: The variance of one seed's mean over these images.
        of_images: What the choice of images adds to the variance of the mean, however many seeds there are.
    """

    mean: float
    seeds: int
    of_seeds: float
    of_images: float

    @property
    def interval(self) -> tuple[float, float]:
        """The confidence interval at the level `LEVEL`."""
        reach = self._reach(ERROR / 2)
        return self.mean - reach, self.mean + reach

    @property
    def p(self) -> float:
        """Of a mean of zero, on both sides: what the interval would have to leave out to end at zero."""
        return min(1.0, 2 * self._tail(abs(self.mean)))

    def p_outside(self, margin: float) -> float:
        """Of a mean outside ± `margin`, by two one-sided tests (Schuirmann, 1987)."""
        return self._tail(margin - abs(self.mean))

    def smallest_seen(self, comparisons: int = 1) -> float:
        """The smallest effect that these seeds and images would have told from zero, with the power `POWER`.

        Args:
            comparisons: How many the error of `ERROR` is shared by, in equal parts.
        """
        return self._reach(ERROR / 2 / comparisons) + self._reach(1 - POWER)

    def seeds_to_decide(self, margin: float, comparisons: int = 1) -> int | None:
        """How many seeds would tell the mean from zero, or from `margin`, were it and the variances as they are.

        Args:
            margin: Below it a difference does not matter.
            comparisons: How many the error of `ERROR` is shared by, in equal parts.

        Returns:
            The smallest number; None where the images alone leave it open, whatever the seeds.
        """
        error, effect = ERROR / comparisons, abs(self.mean)
        for seeds in range(self.seeds, MOST_SEEDS + 1):
            with_seeds = replace(self, seeds=seeds)
            if effect > with_seeds._reach(error / 2) or margin - effect > with_seeds._reach(error):
                return seeds
        return None

    def _reach(self, tail: float) -> float:
        """How far from the mean a share `tail` of either side begins."""
        from scipy.special import ndtri, stdtrit

        by_seeds = float(stdtrit(self.seeds - 1, tail)) * math.sqrt(self.of_seeds / self.seeds)
        return math.hypot(by_seeds, float(ndtri(tail)) * math.sqrt(self.of_images))

    def _tail(self, distance: float) -> float:
        """The share of one side that begins so far from the mean; more than a half where `distance` is negative."""
        if distance <= 0:
            return 0.5 if distance == 0 else 1 - self._tail(-distance)
        low, high = -700.0, math.log(0.5)  # of the logarithm of the share
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._reach(math.exp(middle)) > distance else (low, middle)
        return math.exp(high)


def crossed_mean(values: np.ndarray) -> CrossedMean:
    """The mean over seeds and images, with what each brings into its variance.

    The variances are those of a two-way layout with random effects, as in multi-reader multi-case studies with seeds
    for readers and images for cases (Obuchowski and Rockette, 1995; Hillis, 2007). Interval and tests give each
    variance its own quantile, Student's with S − 1 degrees of freedom and the normal distribution's, and add both in
    quadrature (Howe, "Approximate confidence limits on the mean of X + Y", 1974; Zou and Donner, 2008): Hillis' single
    number of degrees of freedom covers 91 to 94 % instead of 95 at three seeds.

    Args:
        values: One for each seed and image, [S, N], S and N at least 2.
    """
    seeds, images = values.shape
    mean, by_seed, by_image = values.mean(), values.mean(1), values.mean(0)
    rest = values - by_seed[:, None] - by_image + mean
    interaction = float((rest * rest).sum()) / ((seeds - 1) * (images - 1))
    of_images = max(0.0, float(by_image.var(ddof=1)) - interaction / seeds) / images
    return CrossedMean(float(mean), seeds, float(by_seed.var(ddof=1)), of_images)


def probability_of_better(values: Sequence[float], others: Sequence[float]) -> float:
    """How probable it is that one training of the first is better than one of the second, a tie counting half.

    The share of all pairs (Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks", 2021).

    Args:
        values: An accuracy of each training of the first.
        others: Of the second.
    """
    better = sum((value > other) + 0.5 * (value == other) for value in values for other in others)
    return better / (len(values) * len(others))


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The confidence interval of a mean by Student's t (Student, "The probable error of a mean", 1908).

    Args:
        values: A sample, independent and about normal.

    Returns:
        Its two ends at the level `LEVEL`; None for a single value, which tells nothing of the spread.
    """
    from scipy.special import stdtrit

    if len(values) < 2:
        return None
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * error
    return mean - reach, mean + reach


def sign_test(better: int, worse: int) -> float:
    """p of the exact two-sided sign test; McNemar's exact test where the counts are of discordant images.

    The probability of no more than the smaller count of `better + worse` fair coins is the incomplete beta function
    (Abramowitz and Stegun, 26.5.24); doubled, since both tails are alike.

    Args:
        better: How often the first was better.
        worse: How often the second was.
    """
    from scipy.special import betainc

    if better == worse:
        return 1.0
    fewer, more = sorted((better, worse))
    return min(1.0, 2 * float(betainc(more, fewer + 1, 0.5)))


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for being several (Holm, "A simple sequentially rejective multiple test procedure", 1979).

    Args:
        values: The p values of one family.

    Returns:
        The adjusted ones, in the same order: by rank each is multiplied by how many are no smaller, and none is below
        one of a lower rank.
    """
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def ratio_of_medians(timed: Timing, other: Timing) -> tuple[float, float, float]:
    """The ratio of two medians, with its confidence interval at the level `LEVEL`.

    A median's standard error is 1.253 σ / √rounds, σ the quartiles' distance / 1.349, as for a normal distribution
    (McGill, Tukey and Larsen, "Variations of box plots", 1978); the relative errors of both add in quadrature.

    Args:
        timed: The numerator's times.
        other: The denominator's.

    Returns:
        The ratio and the two ends of its interval.
    """
    ratio = timed.median_ms / other.median_ms
    errors = []
    for of in (timed, other):
        lower, upper = of.quartiles_ms
        errors.append(1.253 * (upper - lower) / 1.349 / math.sqrt(len(of.times_ms)) / of.median_ms)
    reach = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2) * ratio * math.hypot(*errors)
    return ratio, ratio - reach, ratio + reach
