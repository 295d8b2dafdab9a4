"""What is measured of columns of values: means, shares, areas under curves, correlations."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]


def mean(values: FloatArray) -> float:
    """The mean; nan of nothing."""
    return float(values.mean()) if len(values) else math.nan


def ratio(parts: FloatArray, wholes: FloatArray) -> float:
    """The sum of the parts over the sum of the wholes; nan where that is not positive."""
    whole = float(wholes.sum())
    return float(parts.sum()) / whole if whole > 0 else math.nan


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
    return correlation(ranked(x), ranked(y)) if len(x) > 1 else math.nan


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
            own = ranked(values)
            ranks[here] = (own - own.mean()) / len(own)
    scale = math.sqrt(float(ours @ ours) * float(theirs @ theirs))
    return float(ours @ theirs) / scale if scale > 0 else math.nan


def ranked(values: FloatArray) -> FloatArray:
    """The ranks of values from 1 on; equal ones share the mean of theirs."""
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
