"""Tests, their p-values, and the correction of a family of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations, permutations

import numpy as np

from igpo_gym.statistics.estimates import (
    FEWEST,
    LEVEL,
    Estimate,
    Numbers,
    difference,
    standard_error,
)
from igpo_gym.statistics.measures import FloatArray, rank_correlation, ranked

_NOISE = 1e-12
"""Differences up to this are rounding, not spread."""

_BLOCK = 1 << 20
"""How many signs are drawn at a time."""


def p_value(estimate: Estimate) -> float:
    """How likely a value so far from 0 is where the truth is 0: Student's t test, both sides.

    nan below ``FEWEST`` units. Where all units say the same there is no spread to judge by: the p-value is
    then that of the sign test, 1 where they all say 0.

    >>> from igpo_gym.statistics import over_seeds
    >>> round(p_value(difference(over_seeds([5, 6, 4, 5, 7]), over_seeds([4, 5, 4, 3, 5]))), 4)
    0.0327
    """
    from scipy.special import stdtr

    units, error = estimate.units, standard_error(estimate.pseudo_values)
    if units < FEWEST or math.isnan(estimate.value) or math.isnan(error):
        return math.nan
    if error == 0:
        return 2.0 ** (1 - units) if abs(estimate.value) > _NOISE else 1.0
    return float(2 * stdtr(units - 1, -abs(estimate.value) / error))


def detectable(estimate: Estimate, tests: int = 1) -> float:
    """The least distance from 0 at which one of so many tests tells a value with this spread from 0.

    At 5% for all of them, by the first step of Holm's method. nan below ``FEWEST`` units.

    >>> from igpo_gym.statistics import over_seeds
    >>> round(detectable(difference(over_seeds([5, 6, 4, 5, 7]), over_seeds([4, 5, 4, 3, 5]))), 2)
    1.04
    """
    from scipy.special import stdtrit

    if estimate.units < FEWEST:
        return math.nan
    level = LEVEL / 2 / tests
    return float(-stdtrit(estimate.units - 1, level)) * standard_error(estimate.pseudo_values)


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
    ours, theirs = (ranks - ranks.mean() for ranks in (ranked(x), ranked(y)))
    if math.factorial(len(theirs)) <= draws:
        ways = np.array(list(permutations(range(len(theirs)))))
    else:
        ways = np.random.default_rng(0).random((draws, len(theirs))).argsort(axis=1)
        ways[0] = np.arange(len(theirs))  # what was seen is one of the ways
    products = np.abs(theirs[ways] @ ours)
    return float((products >= products[0] - _NOISE * max(1.0, products[0])).mean())


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
