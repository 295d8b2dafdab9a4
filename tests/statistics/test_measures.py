from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from igpo_gym.statistics import (
    auc,
    correlation,
    mean,
    r_squared,
    rank_correlation,
    ratio,
    slope,
    stratified_auc,
    stratified_rank_correlation,
)

scores = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=20).map(np.array)


def test_the_stratified_rank_correlation_is_that_of_ranks_less_their_strata():
    draw = np.random.default_rng(0)
    strata = np.repeat([1.0, 2.0, 3.0], [7, 4, 1])
    x = draw.normal(size=12).round(1) + 10 * strata  # between strata both rise, which is not to count
    y = draw.normal(size=12).round(1) + 10 * strata
    ranks = [
        np.concatenate(
            [(r - r.mean()) / len(r) for s in (1, 2, 3) if len(r := stats.rankdata(z[strata == s]))]
        )
        for z in (x, y)
    ]
    expected = stats.pearsonr(*ranks).statistic
    assert stratified_rank_correlation(x, y, strata) == pytest.approx(expected)
    assert abs(expected) < 0.5 < rank_correlation(x, y)
    alone = stratified_rank_correlation(x, y, np.ones(12))
    assert alone == pytest.approx(stats.spearmanr(x, y).statistic)
    assert math.isnan(stratified_rank_correlation(x, strata, strata))


@given(positives=scores, negatives=scores)
def test_auc_counts_pairs(positives, negatives):
    wins = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert auc(positives, negatives) == pytest.approx(np.mean(wins))
    u = stats.mannwhitneyu(positives, negatives).statistic
    assert auc(positives, negatives) == pytest.approx(u / len(positives) / len(negatives))


def test_auc_by_hand():
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert np.isnan(auc(np.array([]), np.array([1.0])))


strata = st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 3)), min_size=1, max_size=20)


@given(positives=strata, negatives=strata)
def test_the_stratified_auc_counts_pairs_within_strata(positives, negatives):
    wins = [(p > n) + 0.5 * (p == n) for p, at in positives for n, there in negatives if at == there]
    columns = [
        np.array(column, dtype=float) for each in (positives, negatives) for column in zip(*each, strict=True)
    ]
    found = stratified_auc(*columns)
    assert found == pytest.approx(np.mean(wins)) if wins else np.isnan(found)
    # What knows the stratum and nothing else has 0.5, whatever it makes of it.
    blind = stratified_auc(-columns[1], columns[1], -columns[3], columns[3])
    assert blind == 0.5 if wins else np.isnan(blind)


@given(data=st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=20))
def test_correlations_are_scipys(data):
    x, y = np.array(data, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(rank_correlation(x, y))
        assert np.isnan(correlation(x, y))
        return
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    line = stats.linregress(x, y)
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
