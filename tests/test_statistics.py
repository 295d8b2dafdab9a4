from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress, mannwhitneyu, spearmanr

from igpo_gym.statistics import (
    Estimate,
    auc,
    correlation,
    estimate,
    leaders,
    mean,
    r_squared,
    rank_correlation,
    ratio,
    slope,
)

scores = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=20).map(np.array)


@given(positives=scores, negatives=scores)
def test_auc_counts_pairs(positives, negatives):
    wins = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert auc(positives, negatives) == pytest.approx(np.mean(wins))
    u = mannwhitneyu(positives, negatives).statistic
    assert auc(positives, negatives) == pytest.approx(u / len(positives) / len(negatives))


def test_auc_by_hand():
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert np.isnan(auc(np.array([]), np.array([1.0])))


@given(data=st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=20))
def test_correlations_are_scipys(data):
    x, y = np.array(data, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(rank_correlation(x, y))
        assert np.isnan(correlation(x, y))
        return
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    line = linregress(x, y)
    assert r_squared(x, y) == pytest.approx(line.rvalue**2, abs=1e-12)
    assert slope(x, y) == pytest.approx(line.slope, abs=1e-12)


def test_teacher_quality_by_hand():
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0])
    # Cov = 1/3 and Var X = 2/3, Var Y = 2/9, all over 3.
    assert r_squared(x, y) == pytest.approx((1 / 3) ** 2 / (2 / 3 * 2 / 9))
    assert slope(x, y) == pytest.approx((1 / 3) / (2 / 3))
    assert np.isnan(slope(np.ones(3), y))


def test_a_ratio_of_sums_needs_a_positive_whole():
    assert ratio(np.array([1.0, 2.0]), np.array([4.0])) == 0.75
    assert np.isnan(ratio(np.array([1.0]), np.array([0.0])))
    assert np.isnan(ratio(np.array([1.0]), np.array([-1.0])))
    assert np.isnan(mean(np.array([])))


def test_units_are_resampled_whole():
    """Ten equal values in each of two units: resampling values would give a far narrower interval."""
    units = [(np.zeros(10),), (np.ones(10),)]
    found = estimate(units, mean)
    assert (found.value, found.low, found.high, found.units) == (0.5, 0.0, 1.0, 2)
    assert set(found.draws) == {0.0, 0.5, 1.0}


def test_the_interval_is_that_of_the_plain_bootstrap():
    values = np.random.default_rng(3).normal(size=40)
    found = estimate([(np.array([value]),) for value in values], mean, resamples=4000)
    draws = np.random.default_rng(7).choice(values, (4000, 40)).mean(1)
    assert found.value == pytest.approx(values.mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.03)


def test_columns_are_pooled_over_units():
    units = [(np.array([3.0, 1.0]), np.array([2.0])), (np.array([5.0]), np.array([4.0, 4.5]))]
    assert estimate(units, auc).value == auc(np.array([3.0, 1.0, 5.0]), np.array([2.0, 4.0, 4.5]))


def test_without_enough_units_there_is_no_interval():
    assert estimate([(np.array([2.0]),)], mean) == Estimate(2.0, *[pytest.approx(np.nan, nan_ok=True)] * 2, 1)
    assert np.isnan(estimate([], mean).value)


def test_leaders_are_those_that_the_best_does_not_surely_beat():
    rng = np.random.default_rng(0)
    base = rng.normal(size=50)

    def of(values):
        return estimate([(np.array([value]),) for value in values], mean)

    estimates = {
        "best": of(base + 1.0),
        "as good": of(rng.permutation(base) + 0.99),
        "surely worse": of(base + 0.9),
        "undefined": Estimate(np.nan, np.nan, np.nan, 0),
        "of fewer units": estimate([(np.array([9.0]),)] * 3, mean),
    }
    # "surely worse" overlaps the best one's interval, but is worse in every pair.
    assert estimates["surely worse"].high > estimates["best"].low
    assert leaders(estimates) == {"best", "as good"}
    assert leaders(estimates, largest=False) == {"surely worse", "as good"}
    assert leaders({}) == frozenset()


def test_with_one_unit_none_leads():
    assert (
        leaders({"a": estimate([(np.ones(3),)], mean), "b": estimate([(np.zeros(3),)], mean)}) == frozenset()
    )
