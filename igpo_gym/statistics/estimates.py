"""A statistic with its interval over independent units."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from igpo_gym.statistics.measures import FloatArray, mean

Sample: TypeAlias = tuple[FloatArray, ...]
"""What one unit contributes: a column of values for each argument of the statistic."""

Statistic: TypeAlias = Callable[..., float]
"""From the pooled columns to a number; nan where it is not defined."""

Numbers: TypeAlias = Sequence[float] | FloatArray

Bounds: TypeAlias = tuple[float, float]
"""The least and the greatest value that a statistic can have."""

LEVEL = 0.05
"""The significance level of every test."""

CONFIDENCE = 1 - LEVEL
"""Of every interval."""

FEWEST = 5
"""The fewest units that have an interval or a test. With fewer, an interval is several times as wide as what
it is about, and it rests on the shape of a distribution that nobody has seen."""

ANYTHING: Bounds = (-math.inf, math.inf)

COUNT: Bounds = (0.0, math.inf)

SHARE: Bounds = (0.0, 1.0)

CORRELATION: Bounds = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic with its 95% interval."""

    value: float
    """nan where the statistic is not defined."""
    low: float
    high: float
    """The interval's ends; nan where there are fewer than ``FEWEST`` units, where the statistic is not
    defined without one of them, or where all units say the same, so that nothing is known of their spread."""
    units: int
    """How many independent units it rests on."""
    pseudo_values: FloatArray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    """One for each unit; empty where there are fewer than two."""

    @property
    def unanimous(self) -> bool:
        """Whether all units say the same, so that nothing is known of their spread."""
        return standard_error(self.pseudo_values) == 0


def estimate(samples: Sequence[Sample], statistic: Statistic, bounds: Bounds = ANYTHING) -> Estimate:
    """The statistic of all units' pooled columns, with its interval over the units.

    The time grows with the square of the number of units; for means see :func:`mean_over`.
    """
    value = float(statistic(*_pool(samples))) if samples else math.nan
    if len(samples) < 2 or math.isnan(value):
        return Estimate(value, math.nan, math.nan, len(samples))
    without = [statistic(*_pool([*samples[:unit], *samples[unit + 1 :]])) for unit in range(len(samples))]
    return _judged(value, np.array(without, dtype=np.float64), bounds)


def mean_over(values: Numbers, units: Sequence[Hashable], bounds: Bounds = ANYTHING) -> Estimate:
    """The mean of all values, with its interval over the units; ``units`` names each value's.

    >>> mean_over([1.0, 0.0, 1.0, 1.0, 0.5, 0.5, 0.0, 1.0], ["a", "a", "b", "b", "c", "d", "e", "f"], SHARE)
    Estimate(value=0.625, low=0.233..., high=0.901..., units=6)
    """
    places: dict[Hashable, int] = {}
    of = np.array([places.setdefault(unit, len(places)) for unit in units], dtype=np.intp)
    array = np.asarray(values, dtype=np.float64)
    if array.shape != of.shape:
        raise ValueError(f"{len(array)} values of {len(of)} units: name the unit of every value")
    if len(places) < 2:
        return Estimate(mean(array), math.nan, math.nan, len(places))
    sums, counts = np.bincount(of, weights=array), np.bincount(of)
    return _judged(mean(array), (sums.sum() - sums) / (counts.sum() - counts), bounds)


def over_seeds(values: Numbers) -> Estimate:
    """The mean of a figure of runs that differ in their seed, with Student's t interval."""
    return mean_over(values, range(len(values)))


def difference(ours: Estimate, theirs: Estimate) -> Estimate:
    """How much greater the one is, paired unit by unit: both must rest on the same units in the same order.

    >>> difference(over_seeds([0.5, 0.6, 0.4, 0.5, 0.7]), over_seeds([0.4, 0.5, 0.4, 0.3, 0.5]))
    Estimate(value=0.12, low=0.01..., high=0.22..., units=5)
    """
    if ours.units != theirs.units:
        raise ValueError(f"{ours.units} units cannot be paired with {theirs.units}")
    value = ours.value - theirs.value
    if ours.units < 2:
        return Estimate(value, math.nan, math.nan, ours.units)
    return _spread(value, ours.pseudo_values - theirs.pseudo_values, ANYTHING)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of figures of independent samples, such as sets of questions; each counts alike.

    The interval follows from theirs (MOVER: Zou and Donner, Statistics in Medicine 27, 2008): with m_i in
    [l_i, u_i], the squares of its arms are those of m_i - l_i and of u_i - m_i, each added up, over n^2. So
    it stays within the bounds that theirs keep. It is nan where one of them has none.

    >>> average([over_seeds([0.5, 0.6, 0.4, 0.5, 0.7]), over_seeds([0.4, 0.5, 0.4, 0.3, 0.5])])
    Estimate(value=0.48..., low=0.39..., high=0.56..., units=10)
    """
    n, found = len(estimates), total(estimates)
    return Estimate(found.value / n, found.low / n, found.high / n, found.units)


def total(estimates: Sequence[Estimate]) -> Estimate:
    """The sum of figures of independent samples, with the interval of :func:`average`.

    >>> total([Estimate(3.0, 2.0, 5.0, 6), Estimate(10.0, 6.0, 13.0, 8)])
    Estimate(value=13.0, low=8.87..., high=16.60..., units=14)
    """
    value, units = sum(each.value for each in estimates), sum(each.units for each in estimates)
    below = math.hypot(*(each.value - each.low for each in estimates))
    above = math.hypot(*(each.high - each.value for each in estimates))
    return Estimate(value, value - below, value + above, units)


def _pool(samples: Sequence[Sample]) -> list[FloatArray]:
    return [np.concatenate(column) for column in zip(*samples, strict=True)]


def _judged(value: float, without: FloatArray, bounds: Bounds) -> Estimate:
    units = len(without)
    return _spread(value, units * value - (units - 1) * without, bounds)


def _spread(value: float, pseudo_values: FloatArray, bounds: Bounds) -> Estimate:
    """An estimate with Student's t interval from its pseudo-values."""
    low, high = _ends(value, pseudo_values, bounds)
    return Estimate(value, low, high, len(pseudo_values), pseudo_values)


def _ends(value: float, pseudo_values: FloatArray, bounds: Bounds) -> tuple[float, float]:
    from scipy.special import betaincinv, stdtrit

    units, tail = len(pseudo_values), LEVEL / 2
    if units < FEWEST:
        return math.nan, math.nan
    hits = np.round(pseudo_values)
    if bounds == SHARE and np.isin(hits, (0, 1)).all() and np.allclose(hits, pseudo_values, atol=1e-9):
        # Units that say yes or no: the exact interval of Clopper and Pearson.
        count = hits.sum()
        low = betaincinv(count, units - count + 1, tail) if count else 0.0
        high = betaincinv(count + 1, units - count, 1 - tail) if count < units else 1.0
        return float(low), float(high)
    error = standard_error(pseudo_values)
    if math.isnan(error) or error == 0:
        return math.nan, math.nan
    reach = float(stdtrit(units - 1, 1 - tail)) * error
    least, most = bounds
    if not math.isfinite(least):
        return value - reach, value + reach
    if not least < value < most:
        return math.nan, math.nan
    if not math.isfinite(most):
        factor = math.exp(min(reach / (value - least), 700.0))
        return least + (value - least) / factor, least + (value - least) * factor
    odds = (value - least) / (most - value)
    factor = math.exp(min(reach * (most - least) / ((value - least) * (most - value)), 700.0))
    low, high = (least + (most - least) * x / (1 + x) for x in (odds / factor, odds * factor))
    return low, high


def standard_error(pseudo_values: FloatArray) -> float:
    """That of their mean; 0 where they differ by rounding alone, nan where one is not defined."""
    if len(pseudo_values) < 2 or np.isnan(pseudo_values).any():
        return math.nan
    if np.ptp(pseudo_values) <= 1e-9 * max(1.0, float(np.abs(pseudo_values).max())):
        return 0.0
    return float(pseudo_values.std(ddof=1) / len(pseudo_values) ** 0.5)
