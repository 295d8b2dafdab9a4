from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, spearmanr, trim_mean, ttest_1samp, ttest_ind

from igpo_gym.benchmark.study.measures import (
    apart,
    average,
    improved,
    improvement,
    iqm,
    of_arm,
    profile,
    reaches,
)
from igpo_gym.benchmark.training.measures import along, along_tokens
from igpo_gym.benchmark.training.outcomes import Outcome, Variant
from igpo_gym.statistics import FloatArray, rank_permutation

scores = st.tuples(st.integers(1, 6), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(st.sampled_from((0.0, 0.25, 0.5, 1.0)), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(np.array)
)


@given(scores)
def test_the_interquartile_mean_is_scipys_trimmed_mean(x: FloatArray) -> None:
    assert float(iqm(x)) == pytest.approx(float(trim_mean(x, 0.25, axis=None)))


@given(scores, st.integers(1, 5))
def test_the_probability_of_improvement_is_mann_whitneys_u(x: FloatArray, runs: int) -> None:
    y = np.random.default_rng(runs).choice((0.0, 0.25, 0.5, 1.0), (runs, x.shape[1]))
    wins = [mannwhitneyu(a, b).statistic / len(a) / len(b) for a, b in zip(x.T, y.T, strict=True)]
    assert float(improvement(x, y)) == pytest.approx(np.mean(wins))


def test_a_profile_counts_what_is_above() -> None:
    x = np.array([[0.1, 0.5], [0.5, 0.9]])
    assert profile(x, np.array([0.1, 0.5])).tolist() == [0.75, 0.25]


def test_intervals_are_those_of_scipys_t_tests_at_their_confidence() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((7, 1)), rng.random((5, 1)) + 0.2
    one = of_arm(x)
    assert (one.low, one.high) == pytest.approx(ttest_1samp(x[:, 0], 0).confidence_interval(0.97))
    two = apart(x, y)
    welch = ttest_ind(x[:, 0], y[:, 0], equal_var=False).confidence_interval(0.96)
    assert (two.low, two.high) == pytest.approx((welch.low, welch.high))
    assert two.units == 5


def test_below_five_runs_and_without_spread_there_is_no_interval() -> None:
    x = np.arange(4.0)[:, None]
    for estimate in (of_arm(x), apart(x, x), improved(x, x)):
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)
    assert math.isnan(of_arm(np.ones((6, 2))).low)


def test_the_ends_of_an_improvement_are_where_the_score_says() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.random((6, 2)) + 0.2, rng.random((8, 2))
    found = improved(x, y)
    for p in (found.low, found.high):
        q1, q2 = (
            p / (2 - p),
            2 * p**2 / (1 + p),
        )  # Hanley and McNeil, both arms taken for as large as their mean
        variance = (p * (1 - p) + 6 * (q1 - p**2) + 6 * (q2 - p**2)) / 48
        assert abs(found.value - p) == pytest.approx(
            2.178813 * math.sqrt(variance), rel=1e-5
        )  # t of 12, 97.5%
    assert 0 < found.low < found.value < found.high < 1
    worst = improved(y - 5, x)
    assert (worst.value, worst.low) == (0, 0)
    assert 0 < worst.high < 0.5


def test_intervals_hold_the_truth_at_five_runs() -> None:
    rng = np.random.default_rng(2)
    drawn = 0.5 - 0.04 * (rng.gamma(1.8, size=(2000, 5, 1)) - 1.8) / 1.8**0.5
    held = np.abs(average(drawn) - 0.5) <= reaches([drawn[..., 0]])
    assert held.mean() > 0.93 - 3 * 0.0057  # three standard errors


def outcome(*points: tuple[float, float]) -> Outcome:
    curve = tuple(
        {"update": 10.0 * n, "tokens": tokens, "seconds": 0.0, "validation_f1": height}
        for n, (tokens, height) in enumerate(points)
    )
    return Outcome(Variant("igpo", "grpo"), 0, curve, {})


def test_the_area_over_tokens_by_hand() -> None:
    found = outcome((0, 0.0), (100, 0.4), (300, 0.8))
    assert along_tokens(found, 300) == pytest.approx((100 * 0.2 + 200 * 0.6) / 300)
    assert along_tokens(found, 200) == pytest.approx((100 * 0.2 + 100 * 0.5) / 200)
    assert along_tokens(found, 100) == pytest.approx(0.2)
    assert math.isnan(along_tokens(found, 301))
    even = outcome((0, 0.3), (50, 0.1), (100, 0.7))
    assert along_tokens(even, 100) == pytest.approx(along(even))


def test_the_area_of_a_run_that_could_not_go_on() -> None:
    """Its scores of 0 are at the tokens that it had then, which may be those of its last validation."""
    whole = outcome((0, 0.2), (100, 0.4), (200, 0.6))
    for stopped, most in (
        (outcome((0, 0.2), (100, 0.4), (100, 0.0), (100, 0.0)), 100),
        (outcome((0, 0.2), (100, 0.4), (200, 0.6), (200, 0.0)), 150),
    ):
        assert along_tokens(stopped, most) == pytest.approx(along_tokens(whole, most))
    shortly_after = outcome((0, 0.2), (100, 0.4), (110, 0.0), (110, 0.0))
    assert along_tokens(shortly_after, 110) == pytest.approx((100 * 0.3 + 10 * 0.2) / 110)


def test_a_rank_correlations_p_by_hand() -> None:
    # Of the 6 orders of three values two are as far from 0 as 1 and -1.
    three = np.arange(3.0)
    assert rank_permutation(three, three) == pytest.approx(2 / 6)
    # Tables of critical values have 0.738 for n = 8 and 5%, two-sided, the least whose exact p is below.
    x, y = np.arange(8.0), np.array([1.0, 0, 3, 2, 7, 6, 4, 5])
    assert spearmanr(x, y).statistic == pytest.approx(0.738, abs=5e-4)
    assert 0.04 < rank_permutation(x, y) < 0.05
    assert math.isnan(rank_permutation(x, np.ones(8)))
