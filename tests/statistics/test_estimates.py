from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from igpo_gym.statistics import (
    COUNT,
    SHARE,
    Estimate,
    auc,
    average,
    difference,
    estimate,
    leaders,
    mean,
    mean_over,
    over_seeds,
    p_value,
    permutation,
)


def test_over_seeds_it_is_the_t_interval_of_scipy():
    values = np.random.default_rng(0).normal(0.5, 0.1, 7)
    found = over_seeds(values)
    theirs = stats.ttest_1samp(values, 0.0)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert p_value(found) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("units", [1, 2, 4])
def test_below_five_units_there_is_neither_interval_nor_test(units):
    found = over_seeds([0.1, 0.9, 0.4, 0.2][:units])
    assert np.isnan([found.low, found.high, p_value(found), p_value(difference(found, found))]).all()
    assert np.isnan(permutation([1.0] * units, [2.0] * 9))
    assert (
        leaders({"a": over_seeds([1.0] * units), "b": over_seeds([0.0, 0.1, 0.2, 0.3][:units])})
        == frozenset()
    )
    assert np.isnan(estimate([], mean).value)


def test_a_spread_of_nothing_shows_nothing():
    same = over_seeds([0.2] * 5)
    assert (same.value, same.units) == (pytest.approx(0.2), 5)
    assert math.isnan(same.low)
    assert p_value(same) == 2 / 2**5, "five of five on one side"
    assert p_value(difference(same, same)) == 1.0


@pytest.mark.parametrize("hits", [0, 3, 9, 10])
def test_where_units_say_yes_or_no_the_interval_is_exact(hits):
    found = mean_over([1.0] * hits + [0.0] * (10 - hits), range(10), SHARE)
    theirs = stats.binomtest(hits, 10).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_attempts_at_one_question_are_no_further_units():
    values = np.random.default_rng(0).random(40)
    once = mean_over(values, range(40), SHARE)
    assert mean_over([*values, *values], [*range(40), *range(40)], SHARE) == Estimate(
        pytest.approx(once.value), pytest.approx(once.low), pytest.approx(once.high), 40
    )
    with pytest.raises(ValueError, match="2 values of 1 units"):
        mean_over([1.0, 2.0], ["a"])


def test_the_mean_has_the_same_interval_by_both_ways():
    rng = np.random.default_rng(4)
    groups = [rng.random(rng.integers(1, 5)) for _ in range(9)]
    units = [place for place, group in enumerate(groups) for _ in group]
    quick = mean_over(np.concatenate(groups), units, SHARE)
    plain = estimate([(group,) for group in groups], mean, SHARE)
    assert [quick.value, quick.low, quick.high] == pytest.approx([plain.value, plain.low, plain.high])
    assert quick.pseudo_values == pytest.approx(plain.pseudo_values)


def test_the_interval_of_a_share_is_that_of_its_log_odds():
    values = np.array([0.9, 0.8, 1.0, 0.7, 0.95, 1.0])
    found = mean_over(values, range(6), SHARE)
    value, error = values.mean(), values.std(ddof=1) / 6**0.5
    odds = np.log(value / (1 - value)) + stats.t.ppf([0.025, 0.975], 5) * error / value / (1 - value)
    assert [found.low, found.high] == pytest.approx((1 / (1 + np.exp(-odds))).tolist())
    assert found.high < 1


def test_columns_are_pooled_over_units():
    units = [(np.array([3.0, 1.0]), np.array([2.0])), (np.array([5.0]), np.array([4.0, 4.5]))]
    assert estimate(units, auc).value == auc(np.array([3.0, 1.0, 5.0]), np.array([2.0, 4.0, 4.5]))


def test_what_is_not_defined_without_one_unit_has_no_interval():
    units = [(np.array([1.0]), np.array([0.0]))] + [(np.array([2.0]), np.empty(0))] * 5
    found = estimate(units, auc, SHARE)
    assert found.value == 1.0
    assert math.isnan(found.low)
    assert math.isnan(p_value(found))


def test_the_average_of_sets_by_hand():
    first = Estimate(0.5, 0.4, 0.8, 10)
    second = Estimate(0.1, 0.0, 0.5, 20)
    found = average([first, second])
    # Arms: sqrt(0.1^2 + 0.1^2) / 2 below, sqrt(0.3^2 + 0.4^2) / 2 above.
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.3 - math.sqrt(0.02) / 2, 0.55))
    assert found.units == 30
    assert math.isnan(average([first, Estimate(0.1, math.nan, math.nan, 4)]).low)
    assert average([first]).high == pytest.approx(0.8)


@given(
    data=st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=5, max_size=12), min_size=1, max_size=5)
)
def test_the_average_stays_within_the_bounds(data):
    found = average([mean_over(values, range(len(values)), SHARE) for values in data])
    if not math.isnan(found.low):
        assert -1e-12 <= found.low <= found.value + 1e-12
        assert found.value - 1e-12 <= found.high <= 1 + 1e-12


def test_the_average_of_equal_sets_is_nearly_the_interval_of_all_their_values():
    sets = np.random.default_rng(3).normal(0.5, 0.1, (4, 400))
    found, pooled = average([over_seeds(each) for each in sets]), over_seeds(sets.ravel())
    assert found.value == pytest.approx(pooled.value)
    assert found.low == pytest.approx(pooled.low, abs=2e-4)


def test_the_interval_of_a_count_is_that_of_t_on_the_log_scale():
    values = [0.0, 1.0, 0.0, 0.0, 2.0, 1.0, 0.0]
    found = mean_over(values, range(7), COUNT)
    mean = np.mean(values)
    reach = stats.t.ppf(0.975, 6) * stats.sem(values) / mean
    assert (found.low, found.high) == pytest.approx((mean * np.exp(-reach), mean * np.exp(reach)))
    assert math.isnan(mean_over([0.0] * 7, range(7), COUNT).low)
