"""Does every estimator point towards the better of two arms? By enumeration, without sampling.

An episode searches once, with arm 1 or arm 0, and answers. Arm 1 is right three times in four and arm 0 once
in four. All groups of four episodes are enumerated, with their chances under a policy that takes arm 1 with
chance p: the expected policy gradient on the logit of arm 1 is exact up to rounding.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations_with_replacement
from math import factorial, prod

import numpy as np
import pytest

from igpo_gym.agents.training.estimators import ESTIMATORS, Split, Turns, resolve_estimator

RIGHT = (0.25, 0.75)
"""The chance of a right answer, by arm."""

AGREE = ((0.1, 1.0),), ((0.4, 1.0),)
"""By arm, the gains of the search and their chances: the better arm gains more."""
NOISE = ((-0.2, 0.5), (0.2, 0.5)), ((-0.2, 0.5), (0.2, 0.5))
"""Gains that say nothing of the arm."""

Gains = tuple[tuple[tuple[float, float], ...], ...]


def episodes(p: float, gains: Gains) -> list[tuple[float, int, float, float]]:
    """All that may happen in an episode: its chance, the arm, the gain and the outcome."""
    return [
        (chance * own * right, arm, gain, outcome)
        for arm, chance in enumerate((1 - p, p))
        for gain, own in gains[arm]
        for outcome, right in ((1.0, RIGHT[arm]), (0.0, 1 - RIGHT[arm]))
    ]


def gradient(name: str, p: float, gains: Gains, size: int = 4) -> float:
    """The expected gradient on the logit of arm 1."""
    estimator = resolve_estimator(name)
    ends = (0.0,) if estimator.needs_last_gain else ()
    expected = 0.0
    for group in combinations_with_replacement(episodes(p, gains), size):
        splits = [Split((gain, *ends), outcome, bool(ends)) for _, _, gain, outcome in group]
        states = [("asked", f"arm {arm}") for _, arm, _, _ in group]
        turns = Turns.of(splits, [0] * size, states)
        firsts = estimator(turns)[turns.numbers == 0]
        scores = np.array([arm - p for _, arm, _, _ in group])
        orders = factorial(size) // prod(map(factorial, Counter(group).values()))
        expected += orders * prod(chance for chance, *_ in group) * float((firsts * scores).mean())
    return expected


CASES = [
    pytest.param(name, gains, id=f"{name}, {what}")
    for name in ESTIMATORS
    for what, gains in (("gains that agree", AGREE), ("gains of noise", NOISE))
    if (name, gains) not in (("igpo-raw", AGREE), ("vine", NOISE))
]
"""All but two, each with a test of its own below."""


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(("name", "gains"), CASES)
def test_the_expected_gradient_points_to_the_better_arm(name: str, gains: Gains, p: float) -> None:
    assert gradient(name, p, gains) > 0.1 * p * (1 - p)


def test_rloo_has_the_gradient_of_success() -> None:
    """The true one, p (1 - p) times the difference between the arms, whatever the gains."""
    for p in (0.1, 0.5, 0.9):
        assert gradient("rloo", p, AGREE) == pytest.approx(p * (1 - p) * (RIGHT[1] - RIGHT[0]))


def test_vine_trusts_its_gains() -> None:
    """They are values of states, measured with completions: where they say nothing, it learns nothing."""
    for p in (0.1, 0.5, 0.9):
        assert gradient("vine", p, NOISE) == pytest.approx(0.0, abs=1e-12)
        assert gradient("vine", p, AGREE) == pytest.approx(p * (1 - p) * (0.4 - 0.1))


def test_igpo_raw_points_away_from_a_rare_better_arm() -> None:
    """As published: gains are divided by their spread and not centered, so that a group whose gains agree,
    mostly one of the usual arm alone, pays that arm a thousand times as much as others do."""
    assert gradient("igpo-raw", 0.1, AGREE) < 0 < gradient("igpo-raw", 0.5, AGREE)
