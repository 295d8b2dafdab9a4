from __future__ import annotations

import math
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from igpo_gym.statistics import (
    Estimate,
    difference,
    holm,
    leaders,
    over_seeds,
    p_value,
    permutation,
    sign_flip,
)


def test_pairs_of_seeds_are_tested_as_scipy_does():
    ours, theirs = np.random.default_rng(1).normal([[0.5], [0.45]], 0.1, (2, 6))
    found = difference(over_seeds(ours), over_seeds(theirs))
    test = stats.ttest_rel(ours, theirs)
    assert p_value(found) == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    with pytest.raises(ValueError, match="5 units cannot be paired with 6"):
        difference(over_seeds(ours[:5]), over_seeds(theirs))


def test_exact_permutation_by_counting():
    ours, theirs = [0.54, 0.53, 0.58, 0.49, 0.55], [0.50, 0.46, 0.53, 0.44, 0.52]
    both = np.array(ours + theirs)
    seen = abs(np.mean(ours) - np.mean(theirs))
    ways = [set(way) for way in combinations(range(10), 5)]
    apart = [
        abs(both[list(way)].mean() - both[[place for place in range(10) if place not in way]].mean())
        for way in ways
    ]
    assert permutation(ours, theirs) == pytest.approx(np.mean(np.array(apart) >= seen - 1e-12))
    assert permutation(ours, ours) == 1.0


def test_permutations_compare_welchs_t():
    ours, theirs = np.random.default_rng(3).normal(0.5, [[0.1], [0.3]], (2, 7))
    theirs = theirs[:5]

    def welch(a, b, axis):
        return stats.ttest_ind(a, b, axis=axis, equal_var=False).statistic

    exact = stats.permutation_test((ours, theirs), welch, n_resamples=np.inf, vectorized=True)
    ways = np.array([welch(x[:7], x[7:], 0) for x in _splits(np.concatenate([ours, theirs]), 7)])
    expected = np.mean(np.abs(ways) >= abs(exact.statistic) - 1e-12)
    assert permutation(ours, theirs) == pytest.approx(expected)
    assert permutation([1.0] * 5, [1.0] * 6) == 1.0
    assert permutation([2.0] * 5, [1.0] * 6) == pytest.approx(1 / math.comb(11, 5))


@pytest.mark.parametrize(("ours", "theirs"), [(0.1, 0.3), (0.6, 0.2), (0.7, 0.1), (1 / 3, 2 / 3)])
@pytest.mark.parametrize("size", [5, 10])
def test_samples_without_spread_have_two_ways_as_far_apart(ours, theirs, size):
    ways = math.comb(2 * size, size)
    assert permutation([ours] * size, [theirs] * size, draws=ways) == pytest.approx(2 / ways, rel=1e-9)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_p_value(odd):
    for ours, theirs in (([odd] * 10, [odd] * 10), ([1, 2, 3, 4, odd], [1, 2, 3, 4, 5])):
        assert math.isnan(permutation(ours, theirs))
        assert math.isnan(permutation(theirs, ours))
    assert math.isnan(sign_flip([odd, 1, 1, 1, 1, 1]))
    assert math.isnan(sign_flip([odd, 1, 2, 3, 4]))


def _splits(values, size):
    for way in combinations(range(len(values)), size):
        yield np.concatenate([values[list(way)], np.delete(values, way)])


def test_permutations_keep_their_level_where_spreads_and_sizes_differ():
    draw = np.random.default_rng(0)
    pairs = [(draw.normal(0, 2, 10), draw.normal(0, 8, 6)) for _ in range(400)]
    assert np.mean([permutation(a, b, draws=1000) <= 0.05 for a, b in pairs]) < 0.1  # of means alone: 0.15


def test_drawn_permutations_are_near_the_exact_ones():
    ours, theirs = np.random.default_rng(5).normal([[0.0], [1.0]], 1.0, (2, 9))
    assert permutation(ours, theirs, draws=4000) == pytest.approx(permutation(ours, theirs, 10**5), abs=0.02)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_step_down_procedure(p_values):
    corrected = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for before, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
            if p_values[place] * (len(p_values) - before) >= level:
                break
            rejected.add(place)
        assert {place for place, p in enumerate(corrected) if p < level} == rejected


def test_leaders_are_those_that_the_best_does_not_beat():
    rng = np.random.default_rng(0)
    base = rng.normal(size=50)
    estimates = {
        "best": over_seeds(base + 1.0 + rng.normal(0, 0.01, 50)),
        "as good": over_seeds(rng.permutation(base) + 0.99),
        "worse": over_seeds(base + 0.9),
        "undefined": Estimate(np.nan, np.nan, np.nan, 0),
        "of fewer units": over_seeds([9.0] * 6),
    }
    # "worse" overlaps the best one's interval, but is worse in nearly every pair.
    assert estimates["worse"].high > estimates["best"].low
    assert leaders(estimates) == {"best", "as good"}
    assert leaders(estimates, largest=False) == {"worse", "as good"}
    assert leaders({}) == frozenset()
    assert leaders({"a": estimates["best"], "b": estimates["as good"]}) == frozenset(), "it beats nobody"


@pytest.mark.parametrize("seed", range(8))
def test_signs_are_flipped_as_scipy_does(seed):
    values = np.random.default_rng(seed).integers(-3, 4, 5 + seed % 4).astype(float)
    theirs = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=10_000).pvalue
    assert sign_flip(values) == pytest.approx(theirs)


@given(more=st.integers(0, 40), fewer=st.integers(0, 40), equal=st.integers(5, 9))
def test_of_right_and_wrong_it_is_the_binomial_test(more, fewer, equal):
    values = [1.0] * more + [-1.0] * fewer + [0.0] * equal
    theirs = stats.binomtest(more, more + fewer).pvalue if more + fewer else 1.0
    assert sign_flip(values) == pytest.approx(theirs)


def test_many_signs_are_drawn_and_few_are_not_judged():
    values = np.random.default_rng(5).normal(0.15, 1.0, 200)
    assert sign_flip(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.02)
    assert sign_flip(values) == sign_flip(values)
    assert math.isnan(sign_flip([1.0] * 4))


def test_the_signs_of_many_questions_need_no_memory_for_all_of_them():
    values = np.random.default_rng(6).normal(0.0, 1.0, 2_000)
    tracemalloc.start()
    sign_flip(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6, "all 20,000 draws together would take 40 MB as bytes, and 320 MB as floats"
