"""Intervals cover as often as they say, and tests keep their level: in samples of a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from igpo_gym.statistics import SHARE, auc, difference, estimate, holm, leaders, over_seeds, p_value

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
