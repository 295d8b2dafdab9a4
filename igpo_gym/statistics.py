"""Statistics with intervals: values pooled over independent units, resampled by unit.

Turns of one question resemble each other, so the unit that is resampled is the question (or the seed of a
training run), never the turn. All estimates made with one seed over the same number of units see the same
resamples, so that two of them can be compared pair by pair.

>>> scores = [(np.array([0.9, 0.4]), np.array([0.1])), (np.array([0.8]), np.array([0.5, 0.2]))]
>>> estimate(scores, auc).value
0.888...
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
Sample: TypeAlias = tuple[FloatArray, ...]
"""What one unit contributes: a column of values for each argument of the statistic."""
Statistic: TypeAlias = Callable[..., float]
"""From the pooled columns to a number; nan where it is not defined."""

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic with its 95% interval."""

    value: float
    """nan where the statistic is not defined."""
    low: float
    high: float
    """The interval's ends; nan where there are fewer than two units or a resample had no value."""
    units: int
    """How many independent units it rests on."""
    draws: FloatArray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    """The statistic in each resample."""


def estimate(
    samples: Sequence[Sample], statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The statistic of all units' pooled columns, with a percentile bootstrap interval over the units.

    Percentiles, since the bias-corrected interval is not defined for a statistic that is the same in every
    resample, such as a share of exactly 1.
    """
    from scipy.stats import bootstrap

    value = statistic(*_pool(samples)) if samples else float("nan")
    if len(samples) < 2 or np.isnan(value):
        return Estimate(float(value), float("nan"), float("nan"), len(samples))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an interval that is not defined is nan, which is told
        result = bootstrap(
            (np.arange(len(samples)),),
            lambda chosen: statistic(*_pool([samples[unit] for unit in chosen])),
            vectorized=False,
            n_resamples=resamples,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    return Estimate(float(value), float(low), float(high), len(samples), result.bootstrap_distribution)


def _pool(samples: Sequence[Sample]) -> list[FloatArray]:
    return [np.concatenate(column) for column in zip(*samples, strict=True)]


def leaders(estimates: Mapping[str, Estimate], largest: bool = True) -> frozenset[str]:
    """The best of comparable estimates, and those that it does not surely beat.

    Sure is a difference whose paired 95% interval leaves out 0; where one unit is all there is, nothing is
    sure, and none leads. An estimate without a value takes no part, nor does one that rests on fewer units
    than others do.
    """
    sign = 1.0 if largest else -1.0
    defined = {name: e for name, e in estimates.items() if not np.isnan(e.value)}
    if not defined:
        return frozenset()
    most = max(e.units for e in defined.values())
    if most < 2:
        return frozenset()
    defined = {name: e for name, e in defined.items() if e.units == most}
    top = max(defined.values(), key=lambda e: sign * e.value)
    return frozenset(name for name, e in defined.items() if not _beats(top, e, sign))


def _beats(top: Estimate, other: Estimate, sign: float) -> bool:
    differences = sign * (top.draws - other.draws)
    return bool(np.nanquantile(differences, (1 - CONFIDENCE) / 2) > 0)


def mean(values: FloatArray) -> float:
    """The mean; nan of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def ratio(parts: FloatArray, wholes: FloatArray) -> float:
    """The sum of the parts over the sum of the wholes; nan where that is not positive."""
    whole = float(wholes.sum())
    return float(parts.sum()) / whole if whole > 0 else float("nan")


def auc(positives: FloatArray, negatives: FloatArray) -> float:
    """The chance that a positive exceeds a negative, ties counting half: the area under the ROC curve.

    nan where either is empty.
    """
    if not len(positives) or not len(negatives):
        return float("nan")
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left")
    not_above = np.searchsorted(ordered, positives, "right")
    return float((below + not_above).mean() / 2 / len(negatives))


def rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's: the correlation of the ranks, ties sharing theirs; nan where either is constant."""
    from scipy.stats import rankdata

    return correlation(rankdata(x), rankdata(y)) if len(x) > 1 else float("nan")


def correlation(x: FloatArray, y: FloatArray) -> float:
    """Pearson's; nan where either is constant."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def r_squared(x: FloatArray, y: FloatArray) -> float:
    """``Cov(X, Y)^2 / (Var X * Var Y)``: how much of Y a line in X explains; nan where either is constant."""
    return correlation(x, y) ** 2


def slope(x: FloatArray, y: FloatArray) -> float:
    """``Cov(X, Y) / Var X``: the least-squares line's; nan where X is constant."""
    if len(x) < 2 or np.ptp(x) == 0:
        return float("nan")
    return float(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
