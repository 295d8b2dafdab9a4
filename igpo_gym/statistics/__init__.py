"""The only intervals and tests of the package: Student's t over independent units, permutation, Holm.

Turns of one question resemble each other, and so do attempts at it. The unit is therefore the question (or
the seed of a training run), never the turn. Every interval here is Student's t on jackknife pseudo-values,
one for each unit: with n units, statistic s of all and s_i of all but unit i, these are n*s - (n - 1)*s_i.
The pseudo-values of a mean are the values themselves, so that over seeds this is the ordinary t interval. For
a statistic with bounds the interval is computed on the log-odds scale, and for one with a least value alone
on the log scale: the ends stay within the bounds.

Below ``FEWEST`` units there is no interval and no test: their ends and p-values are nan, and nothing leads.

>>> import numpy as np
>>> scores = [(np.array([0.9, 0.4]), np.array([0.1])), (np.array([0.8]), np.array([0.5, 0.2]))]
>>> found = estimate(scores, auc, (0.0, 1.0))
>>> round(found.value, 3), found.low, found.units
(0.889, nan, 2)
>>> over_seeds([0.52, 0.50, 0.55, 0.49, 0.53])
Estimate(value=0.518, low=0.488..., high=0.547..., units=5)
"""

from __future__ import annotations

from igpo_gym.statistics.estimates import (
    ANYTHING,
    CONFIDENCE,
    CORRELATION,
    COUNT,
    FEWEST,
    LEVEL,
    SHARE,
    Bounds,
    Estimate,
    Numbers,
    Sample,
    Statistic,
    average,
    difference,
    estimate,
    mean_over,
    over_seeds,
    total,
)
from igpo_gym.statistics.measures import (
    FloatArray,
    auc,
    correlation,
    kappa,
    mean,
    r_squared,
    rank_correlation,
    ratio,
    slope,
    stratified_auc,
    stratified_rank_correlation,
)
from igpo_gym.statistics.significance import (
    detectable,
    holm,
    leaders,
    p_value,
    permutation,
    rank_permutation,
    sign_flip,
)

__all__ = [
    "ANYTHING",
    "CONFIDENCE",
    "CORRELATION",
    "COUNT",
    "FEWEST",
    "LEVEL",
    "SHARE",
    "Bounds",
    "Estimate",
    "FloatArray",
    "Numbers",
    "Sample",
    "Statistic",
    "auc",
    "average",
    "correlation",
    "detectable",
    "difference",
    "estimate",
    "holm",
    "kappa",
    "leaders",
    "mean",
    "mean_over",
    "over_seeds",
    "p_value",
    "permutation",
    "r_squared",
    "rank_correlation",
    "rank_permutation",
    "ratio",
    "sign_flip",
    "slope",
    "stratified_auc",
    "stratified_rank_correlation",
    "total",
]
