"""Figures of runs with an F1 for each number of hops, and intervals for few runs.

Runs are rows and tasks (numbers of hops) columns: scores are [runs, tasks]. Interquartile mean, probability
of improvement and performance profile are defined as rliable has them (2108.13264). Its intervals, a
percentile bootstrap, are too short for so few runs; those here are the ones whose coverage
``scripts/interval_coverage.py`` finds high enough (docs/study.md has its table):

- of a mean or an interquartile mean, Student's t on jackknife pseudo-values over runs, at 97%;
- of a difference of two arms, Welch's t on the same pseudo-values, at 96%;
- of a probability of improvement, the score interval of Hanley and McNeil's variance (Newcombe's method 5,
  Statistics in Medicine 25, 2006), with a quantile of Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from igpo_gym.statistics import CONFIDENCE, FEWEST, Estimate, FloatArray

NOMINAL = {1: 0.97, 2: 0.96}
"""The confidence that t quantiles are taken at, for one arm and for two: figures of runs are skewed, and the
quantiles of 95% cover as little as 92%. With these the simulation finds 94.7% to 96.5%."""

Figure = Callable[[FloatArray], FloatArray]
"""From scores, [..., runs, tasks], to a number for each of the leading places, [...]."""


def iqm(scores: FloatArray) -> FloatArray:
    """The mean of the middle half of all scores, runs and tasks together.

    >>> float(iqm(np.array([[0.0, 1.0], [2.0, 9.0]])))
    1.5
    """
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    size = ordered.shape[-1]
    return np.asarray(ordered[..., size // 4 : size - size // 4].mean(axis=-1))


def average(scores: FloatArray) -> FloatArray:
    """The mean of all scores."""
    return np.asarray(scores.mean(axis=(-2, -1)))


def improvement(ours: FloatArray, theirs: FloatArray) -> FloatArray:
    """The chance that a run of ours has a higher score than one of theirs, ties half; the mean over tasks.

    >>> float(improvement(np.array([[0.5, 0.1], [0.7, 0.1]]), np.array([[0.6, 0.1]])))
    0.5
    """
    signs = np.sign(ours[..., :, None, :] - theirs[..., None, :, :])
    return np.asarray(0.5 + signs.mean(axis=(-3, -2, -1)) / 2)


def profile(scores: FloatArray, heights: FloatArray) -> FloatArray:
    """The share of all scores above each height: a performance profile.

    >>> profile(np.array([[0.2, 0.4], [0.6, 0.8]]), np.array([0.0, 0.5, 0.9])).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.asarray((scores[..., None] > heights).mean(axis=(0, 1)))


def of_arm(scores: FloatArray, figure: Figure = average) -> Estimate:
    """A figure of an arm's runs with its interval; nan ends below ``FEWEST`` runs.

    >>> of_arm(np.array([[0.52], [0.50], [0.55], [0.49], [0.53]]))
    Estimate(value=0.518, low=0.48..., high=0.55..., units=5)
    """
    return _estimate(float(figure(scores)), [scores], figure)


def apart(ours: FloatArray, theirs: FloatArray) -> Estimate:
    """How much greater our average is, with its interval; ``units`` are the runs of the smaller arm.

    >>> apart(np.array([[5.0], [6], [4], [5], [7]]), np.array([[4.0], [5], [4], [3], [5]]))
    Estimate(value=1.2..., low=-0.3..., high=2.7..., units=5)
    """
    return _estimate(float(average(ours) - average(theirs)), [ours, theirs], average)


def _estimate(value: float, samples: list[FloatArray], figure: Figure) -> Estimate:
    fewest = min(map(len, samples))
    if fewest < FEWEST:
        return Estimate(value, math.nan, math.nan, fewest)
    reach = float(reaches([pseudo_values(each, figure) for each in samples]))
    return Estimate(value, value - reach, value + reach, fewest)


def pseudo_values(scores: FloatArray, figure: Figure) -> FloatArray:
    """Jackknife pseudo-values of a figure, [..., runs]: n * s - (n - 1) * s without the run."""
    runs = scores.shape[-2]
    without = np.stack([figure(np.delete(scores, run, axis=-2)) for run in range(runs)], axis=-1)
    return np.asarray(runs * figure(scores)[..., None] - (runs - 1) * without)


def reaches(samples: list[FloatArray]) -> FloatArray:
    """How far an interval reaches from a sum or difference of means of samples, [..., runs] each; nan where
    no value differs.

    Student's t for one sample, Welch's for two.
    """
    from scipy.special import stdtrit

    squares = np.stack([each.var(axis=-1, ddof=1) / each.shape[-1] for each in samples])
    squares[:, squares.sum(axis=0) < 1e-24] = math.nan
    parts = [square**2 / (each.shape[-1] - 1) for square, each in zip(squares, samples, strict=True)]
    freedom = squares.sum(axis=0) ** 2 / np.sum(parts, axis=0)
    return np.asarray(stdtrit(freedom, (1 + NOMINAL[len(samples)]) / 2) * np.sqrt(squares.sum(axis=0)))


def improved(ours: FloatArray, theirs: FloatArray) -> Estimate:
    """:func:`improvement` with its interval, which stays within 0 and 1.

    >>> improved(np.arange(5.0)[:, None] + 9, np.arange(5.0)[:, None])
    Estimate(value=1.0, low=0.5..., high=1.0, units=5)
    """
    value, fewest = float(improvement(ours, theirs)), min(len(ours), len(theirs))
    if fewest < FEWEST:
        return Estimate(value, math.nan, math.nan, fewest)
    return Estimate(value, *score_ends(value, len(ours), len(theirs)), fewest)


@cache
def score_ends(value: float, m: int, n: int) -> tuple[float, float]:
    """The interval of a probability of improvement that m and n runs gave.

    Its ends are the probabilities that lie as far from what was seen as a quantile of Student's t says, in
    standard errors that they themselves imply.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    t, middle, tiny = float(stdtrit(m + n - 2, (1 + CONFIDENCE) / 2)), (m + n) / 2 - 1, 1e-9

    def excess(p: float) -> float:
        variance = p * (1 - p) * (1 + middle * ((1 - p) / (2 - p) + p / (1 + p))) / (m * n)
        return (value - p) ** 2 - t**2 * variance

    low = float(brentq(excess, tiny, min(value, 1 - tiny))) if value > tiny and excess(tiny) > 0 else 0.0
    high = (
        float(brentq(excess, max(value, tiny), 1 - tiny))
        if value < 1 - tiny and excess(1 - tiny) > 0
        else 1.0
    )
    return low, high
