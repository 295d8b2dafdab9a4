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
    COUNT,
    SHARE,
    Estimate,
    auc,
    average,
    correlation,
    difference,
    estimate,
    holm,
    leaders,
    mean,
    mean_over,
    over_seeds,
    p_value,
    permutation,
    r_squared,
    rank_correlation,
    ratio,
    sign_flip,
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


def test_over_seeds_it_is_the_t_interval_of_scipy():
    values = np.random.default_rng(0).normal(0.5, 0.1, 7)
    found = over_seeds(values)
    theirs = stats.ttest_1samp(values, 0.0)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert p_value(found) == pytest.approx(theirs.pvalue)


def test_pairs_of_seeds_are_tested_as_scipy_does():
    ours, theirs = np.random.default_rng(1).normal([[0.5], [0.45]], 0.1, (2, 6))
    found = difference(over_seeds(ours), over_seeds(theirs))
    test = stats.ttest_rel(ours, theirs)
    assert p_value(found) == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    with pytest.raises(ValueError, match="5 units cannot be paired with 6"):
        difference(over_seeds(ours[:5]), over_seeds(theirs))


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


RUNS = 2000


def seeds_of(rng, kind, count):
    if kind == "normal":
        return rng.normal(0.5, 0.05, count)
    return rng.binomial(200, np.clip(rng.normal(0.5, 0.03, count), 0, 1)) / 200


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 10, 20])
@pytest.mark.parametrize("kind", ["normal", "shares of 200 questions"])
def test_intervals_over_seeds_cover(kind, count):
    rng = np.random.default_rng(count)
    found = [over_seeds(seeds_of(rng, kind, count)) for _ in range(RUNS)]
    assert np.mean([each.low <= 0.5 <= each.high for each in found]) >= 0.93


def question(rng):
    """The pay of some useful and useless searches of a question, all of which share its difficulty."""
    level, ease = rng.normal(0, 0.6), rng.normal(1.2, 0.6)
    return level + rng.normal(ease, 1, rng.integers(3, 12)), level + rng.normal(0, 1, rng.integers(3, 12))


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 8, 15, 30])
def test_intervals_of_an_auc_over_questions_cover(count):
    rng = np.random.default_rng(count)
    truth = auc(*map(np.concatenate, zip(*(question(rng) for _ in range(4000)), strict=True)))
    found = [estimate([question(rng) for _ in range(count)], auc, SHARE) for _ in range(RUNS // 2)]
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 10])
@pytest.mark.parametrize("variants", [2, 7])
def test_equal_variants_have_a_verdict_in_one_benchmark_of_twenty(variants, count):
    """Three standard errors of the share itself are allowed for."""
    rng = np.random.default_rng(variants + count)
    said = np.zeros(2)
    for _ in range(RUNS):
        shared = rng.normal(0.5, 0.02, count)  # all variants of a seed meet the same questions
        chances = np.clip(shared + rng.normal(0, 0.03, (variants, count)), 0, 1)
        found = [over_seeds(scores) for scores in rng.binomial(200, chances) / 200]
        corrected = holm([p_value(difference(each, found[0])) for each in found[1:]])
        said += min(corrected) < 0.05, bool(leaders(dict(zip(map(str, range(variants)), found, strict=True))))
    assert (said / RUNS <= 0.05 + 3 * (0.05 * 0.95 / RUNS) ** 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 30])
def test_equal_rewards_have_leaders_in_one_column_of_twenty(count):
    rng = np.random.default_rng(count)
    runs, said = 400, 0
    for _ in range(runs):
        questions = [question(rng) for _ in range(count)]
        found = {
            str(variant): estimate(
                [tuple(column + rng.normal(0, 0.7, len(column)) for column in each) for each in questions],
                auc,
                SHARE,
            )
            for variant in range(6)
        }
        said += bool(leaders(found))
    assert said / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


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


def test_the_interval_of_a_count_is_that_of_t_on_the_log_scale():
    values = [0.0, 1.0, 0.0, 0.0, 2.0, 1.0, 0.0]
    found = mean_over(values, range(7), COUNT)
    mean = np.mean(values)
    reach = stats.t.ppf(0.975, 6) * stats.sem(values) / mean
    assert (found.low, found.high) == pytest.approx((mean * np.exp(-reach), mean * np.exp(reach)))
    assert math.isnan(mean_over([0.0] * 7, range(7), COUNT).low)
