"""Intervals and tests, by SciPy's special functions: its `stats` would take most of a table's second to load."""

import math
import statistics
from collections.abc import Sequence

from paradise.study.records import Timing

LEVEL = 0.95


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


def ratio_of_medians(timed: Timing, other: Timing, rounds: int) -> tuple[float, float, float]:
    """The ratio of two medians, with its confidence interval at the level `LEVEL`.

    A median's standard error is 1.253 σ / √rounds, σ the quartiles' distance / 1.349, as for a normal distribution
    (McGill, Tukey and Larsen, "Variations of box plots", 1978); the relative errors of both add in quadrature.

    Args:
        timed: The numerator's median and quartiles.
        other: The denominator's.
        rounds: How many timings each of them is of.

    Returns:
        The ratio and the two ends of its interval.
    """
    from scipy.special import ndtri

    ratio = timed.median_ms / other.median_ms
    errors = [
        1.253 * (of.quartiles_ms[1] - of.quartiles_ms[0]) / 1.349 / math.sqrt(rounds) / of.median_ms
        for of in (timed, other)
    ]
    reach = float(ndtri((1 + LEVEL) / 2)) * ratio * math.hypot(*errors)
    return ratio, ratio - reach, ratio + reach
