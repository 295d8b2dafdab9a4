"""The only intervals and tests of the package: Student's t over independent units, permutation, Holm.

Turns of one question resemble each other, and so do attempts at it. The unit is therefore the question (or
the seed of a training run), never the turn. Every interval here is Student's t on jackknife pseudo-values,
one for each unit: with n units, statistic s of all and s_i of all but unit i, these are n*s - (n - 1)*s_i.
The pseudo-values of a mean are the values themselves, so that over seeds this is the ordinary t interval. For
a statistic with bounds the interval is computed on the log-odds scale, and for one with a least value alone
on the log scale: the ends stay within the bounds.

Below ``FEWEST`` units there is no interval and no test: their ends and p-values are nan, and nothing leads.

>>> scores = [(np.array([0.9, 0.4]), np.array([0.1])), (np.array([0.8]), np.array([0.5, 0.2]))]
>>> found = estimate(scores, auc, (0.0, 1.0))
>>> round(found.value, 3), found.low, found.units
(0.889, nan, 2)
>>> over_seeds([0.52, 0.50, 0.55, 0.49, 0.53])
Estimate(value=0.518, low=0.488..., high=0.547..., units=5)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
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
        return _standard_error(self.pseudo_values) == 0


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


def kappa(ours: FloatArray, theirs: FloatArray) -> float:
    """Cohen's kappa of two graders of the same things: 1 where they agree, 0 where no more than by chance.

    (p - e) / (1 - e), with p the share of equal grades and e the share that two graders would have who give
    their own grades as often, and independently. nan where both give a single grade to everything.

    >>> kappa(np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 0.0]))
    0.5
    """
    grades = np.union1d(ours, theirs)
    chance = sum(float((ours == grade).mean() * (theirs == grade).mean()) for grade in grades)
    equal = float((ours == theirs).mean())
    return (equal - chance) / (1 - chance) if chance < 1 else math.nan


def p_value(estimate: Estimate) -> float:
    """How likely a value so far from 0 is where the truth is 0: Student's t test, both sides.

    nan below ``FEWEST`` units. Where all units say the same there is no spread to judge by: the p-value is
    then that of the sign test, 1 where they all say 0.

    >>> round(p_value(difference(over_seeds([5, 6, 4, 5, 7]), over_seeds([4, 5, 4, 3, 5]))), 4)
    0.0327
    """
    from scipy.special import stdtr

    units, error = estimate.units, _standard_error(estimate.pseudo_values)
    if units < FEWEST or math.isnan(estimate.value) or math.isnan(error):
        return math.nan
    if error == 0:
        return 2.0 ** (1 - units) if abs(estimate.value) > _NOISE else 1.0
    return float(2 * stdtr(units - 1, -abs(estimate.value) / error))


def detectable(estimate: Estimate, tests: int = 1) -> float:
    """The least distance from 0 at which one of so many tests tells a value with this spread from 0.

    At 5% for all of them, by the first step of Holm's method. nan below ``FEWEST`` units.

    >>> round(detectable(difference(over_seeds([5, 6, 4, 5, 7]), over_seeds([4, 5, 4, 3, 5]))), 2)
    1.04
    """
    from scipy.special import stdtrit

    if estimate.units < FEWEST:
        return math.nan
    level = LEVEL / 2 / tests
    return float(-stdtrit(estimate.units - 1, level)) * _standard_error(estimate.pseudo_values)


def permutation(ours: Numbers, theirs: Numbers, draws: int = 20_000) -> float:
    """The p-value of two independent samples' means under all ways to exchange their values, both sides.

    What is compared is Welch's t: the test is exact where both have one distribution, and stays near its
    level where only the means are equal, which the bare difference does not for samples of unequal size and
    spread (Janssen, Statistics and Probability Letters 36, 1997). Of samples of one size both say the same.
    All ways up to ``draws``, above that so many drawn at random with a fixed seed. nan where either has fewer
    than ``FEWEST`` values, and for values that are not finite.

    >>> round(permutation([9, 8, 7, 6, 10], [1, 2, 3, 4, 5]), 4) == round(2 / 252, 4)
    True
    """
    if min(len(ours), len(theirs)) < FEWEST:
        return math.nan
    both = np.array([*ours, *theirs], dtype=np.float64)
    if not np.isfinite(both).all():
        return math.nan
    size, total = len(ours), len(both)
    if math.comb(total, size) <= draws:
        chosen = np.array(list(combinations(range(total), size)))
    else:
        order = np.random.default_rng(0).random((draws, total)).argsort(axis=1)
        chosen = np.vstack([np.arange(size), order[:, :size]])  # what was seen is one of the ways
    both -= both.mean()
    values = both[chosen]
    sums, squares = values.sum(axis=1), (values**2).sum(axis=1)
    means, others = sums / size, -sums / (total - size)
    spreads = squares - size * means**2, (both**2).sum() - squares - (total - size) * others**2
    errors = spreads[0] / (size * (size - 1)) + spreads[1] / ((total - size) * (total - size - 1))
    distances = np.abs(means - others)
    distances[distances <= _NOISE] = 0.0
    # Of samples without spread it is all there is.
    rounding = max(_NOISE * float((both**2).mean()), _NOISE**2)
    ts = distances / np.sqrt(np.maximum(errors, rounding))
    return float((ts >= ts[0] * (1 - 1e-9)).mean())


def sign_flip(differences: Numbers, draws: int = 20_000) -> float:
    """The p-value of paired differences whose mean is 0 in truth, under all ways to turn their signs.

    Both sides. For differences of one size, such as those of right and wrong, it is the exact binomial test
    of McNemar. Exact up to ``draws`` ways, above that from so many drawn at random with a fixed seed. nan
    below ``FEWEST`` differences, and for one that is not finite; 1 where all are 0.

    >>> sign_flip([1, 1, 1, 1, 1, 1, 0, 0, -1]), sign_flip([1.0, 0.5, 0.25, 0.5, 1.0])
    (0.125, 0.0625)
    """
    from scipy.special import bdtr

    if len(differences) < FEWEST:
        return math.nan
    array = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(array).all():
        return math.nan
    array = array[np.abs(array) > _NOISE]
    size = len(array)
    if not size:
        return 1.0
    if np.ptp(np.abs(array)) <= _NOISE:
        fewer = min(int((array > 0).sum()), int((array < 0).sum()))
        return min(1.0, 2 * float(bdtr(fewer, size, 0.5)))
    seen = abs(float(array.sum()))
    least = seen - _NOISE * max(1.0, seen)
    if 2**size <= draws:
        signs = 1 - 2 * (np.arange(2**size)[:, None] >> np.arange(size) & 1)
        return float((np.abs(signs @ array) >= least).mean())
    far, rows, generator = 1, max(1, _BLOCK // size), np.random.default_rng(0)
    for start in range(1, draws, rows):  # the first way is what was seen
        signs = 1 - 2 * generator.integers(0, 2, (min(rows, draws - start), size), dtype=np.int8)
        far += int((np.abs(signs @ array) >= least).sum())
    return far / draws


def holm(p_values: Numbers) -> list[float]:
    """The p-values of a family of tests, corrected so that all of it errs with the chance of one test.

    By Holm's method: the smallest of m times m, the next times m - 1, and so on, none above 1 and none below
    one before it. A test without a p-value (nan) is no member.

    >>> holm([0.01, 0.04, 0.03, float("nan")])
    [0.03, 0.06, 0.06, nan]
    """
    array = np.asarray(p_values, dtype=np.float64)
    members = [place for place in np.argsort(array) if not np.isnan(array[place])]
    corrected, highest = array.copy(), 0.0
    for before, place in enumerate(members):
        highest = max(highest, min(1.0, array[place] * (len(members) - before)))
        corrected[place] = highest
    return list(map(float, corrected))


def leaders(estimates: Mapping[str, Estimate], largest: bool = True) -> frozenset[str]:
    """The best of comparable estimates and those that it does not beat; none where it beats nobody.

    All pairs are compared with the paired t test and corrected by Holm's method, so that one in twenty sets
    of estimates that do not differ at all has leaders. An estimate without a value takes no part, nor does
    one that rests on fewer units than others do, or that is not defined without one of them.
    """
    sign = 1.0 if largest else -1.0
    defined = {name: e for name, e in estimates.items() if not np.isnan([e.value, *e.pseudo_values]).any()}
    most = max((e.units for e in defined.values()), default=0)
    rivals = {name: e for name, e in defined.items() if e.units == most}
    if most < FEWEST or len(rivals) < 2:
        return frozenset()
    pairs = list(combinations(rivals, 2))
    corrected = holm([p_value(difference(rivals[a], rivals[b])) for a, b in pairs])
    apart = {frozenset(pair) for pair, p in zip(pairs, corrected, strict=True) if p < LEVEL}
    top = max(rivals, key=lambda name: sign * rivals[name].value)
    equals = frozenset(name for name in rivals if {name, top} not in apart)
    return equals if len(equals) < len(rivals) else frozenset()


_NOISE = 1e-12
"""Differences up to this are rounding, not spread."""

_BLOCK = 1 << 20
"""How many signs are drawn at a time."""


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
    error = _standard_error(pseudo_values)
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


def _standard_error(pseudo_values: FloatArray) -> float:
    """That of their mean; 0 where they differ by rounding alone, nan where one is not defined."""
    if len(pseudo_values) < 2 or np.isnan(pseudo_values).any():
        return math.nan
    if np.ptp(pseudo_values) <= 1e-9 * max(1.0, float(np.abs(pseudo_values).max())):
        return 0.0
    return float(pseudo_values.std(ddof=1) / len(pseudo_values) ** 0.5)


# Statistics.


def mean(values: FloatArray) -> float:
    """The mean; nan of nothing."""
    return float(values.mean()) if len(values) else math.nan


def ratio(parts: FloatArray, wholes: FloatArray) -> float:
    """The sum of the parts over the sum of the wholes; nan where that is not positive."""
    whole = float(wholes.sum())
    return float(parts.sum()) / whole if whole > 0 else math.nan


def auc(positives: FloatArray, negatives: FloatArray) -> float:
    """The chance that a positive exceeds a negative, ties counting half: the area under the ROC curve.

    nan where either is empty.
    """
    if not len(positives) or not len(negatives):
        return math.nan
    return _wins(positives, negatives) / len(positives) / len(negatives)


def stratified_auc(
    positives: FloatArray, positive_strata: FloatArray, negatives: FloatArray, negative_strata: FloatArray
) -> float:
    """The chance that a positive exceeds a negative of its own stratum, ties counting half.

    All pairs of all strata count alike. What is the same for a whole stratum has 0.5. nan where no stratum
    has both.

    >>> paid, useless = np.array([3.0, 1.0]), np.array([2.0, 0.0])
    >>> auc(paid, useless), stratified_auc(paid, np.array([1.0, 2.0]), useless, np.array([1.0, 2.0]))
    (0.75, 1.0)
    """
    wins = pairs = 0.0
    for stratum in np.intersect1d(positive_strata, negative_strata):
        here, there = positives[positive_strata == stratum], negatives[negative_strata == stratum]
        wins += _wins(here, there)
        pairs += len(here) * len(there)
    return wins / pairs if pairs else math.nan


def _wins(positives: FloatArray, negatives: FloatArray) -> float:
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left")
    not_above = np.searchsorted(ordered, positives, "right")
    return float((below + not_above).sum() / 2)


def rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's: the correlation of the ranks, ties sharing theirs; nan where either is constant."""
    return correlation(_ranks(x), _ranks(y)) if len(x) > 1 else math.nan


def stratified_rank_correlation(x: FloatArray, y: FloatArray, strata: FloatArray) -> float:
    """Spearman's among values of one stratum: the correlation of ranks within it, pooled over all strata.

    A rank is divided by the size of its stratum, so that one stratum's spread counts as another's. nan where
    either is constant in every stratum.

    >>> x, y = np.array([1.0, 2.0, 10.0, 20.0]), np.array([2.0, 1.0, 9.0, 8.0])
    >>> round(rank_correlation(x, y), 3), stratified_rank_correlation(x, y, np.array([1.0, 1.0, 2.0, 2.0]))
    (0.6, -1.0)
    """
    ours, theirs = np.zeros(len(x)), np.zeros(len(y))
    for stratum in np.unique(strata):
        here = strata == stratum
        for ranks, values in ((ours, x[here]), (theirs, y[here])):
            own = _ranks(values)
            ranks[here] = (own - own.mean()) / len(own)
    scale = math.sqrt(float(ours @ ours) * float(theirs @ theirs))
    return float(ours @ theirs) / scale if scale > 0 else math.nan


def rank_permutation(x: FloatArray, y: FloatArray, draws: int = 400_000) -> float:
    """The p-value of Spearman's correlation under all ways to pair the values, both sides.

    Exact up to ``draws`` ways (nine values), above that from so many drawn at random with a fixed seed. nan
    where either is constant.

    >>> ordered = np.arange(6.0)
    >>> round(rank_permutation(ordered, ordered), 4) == round(2 / 720, 4)
    True
    """
    seen = rank_correlation(x, y)
    if math.isnan(seen):
        return math.nan
    ours, theirs = (ranks - ranks.mean() for ranks in (_ranks(x), _ranks(y)))
    if math.factorial(len(theirs)) <= draws:
        ways = np.array(list(permutations(range(len(theirs)))))
    else:
        ways = np.random.default_rng(0).random((draws, len(theirs))).argsort(axis=1)
        ways[0] = np.arange(len(theirs))  # what was seen is one of the ways
    products = np.abs(theirs[ways] @ ours)
    return float((products >= products[0] - _NOISE * max(1.0, products[0])).mean())


def _ranks(values: FloatArray) -> FloatArray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: FloatArray = np.cumsum(counts) - (counts - 1) / 2
    return ranks[places]


def correlation(x: FloatArray, y: FloatArray) -> float:
    """Pearson's; nan where either is constant."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def r_squared(x: FloatArray, y: FloatArray) -> float:
    """``Cov(X, Y)^2 / (Var X * Var Y)``: how much of Y a line in X explains; nan where either is constant."""
    return correlation(x, y) ** 2


def slope(x: FloatArray, y: FloatArray) -> float:
    """``Cov(X, Y) / Var X``: the least-squares line's; nan where X is constant."""
    if len(x) < 2 or np.ptp(x) == 0:
        return math.nan
    return float(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
