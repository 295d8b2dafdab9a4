from __future__ import annotations

import math
from itertools import pairwise

import pytest

from igpo_gym.agents.summary import interval, summarise
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode
from tests.conftest import QUESTIONS


def play(engine: Engine, question: int, *messages: str) -> Episode:
    (episode,) = engine.begin([QUESTIONS[question]])
    engine.settle([], [episode])
    for message in messages:
        engine.settle(engine.play([episode], [message]))
    return episode


def test_the_values_of_two_episodes_by_hand(engine: Engine) -> None:
    first = play(
        engine,
        1,
        "<search>Günter Grass writer</search>",
        "<search>Günter Grass born</search>",
        "<answer>Danzig</answer>",
    )
    second = play(engine, 2, "hm", "<answer>Vistula</answer>")
    summary = summarise([first, second])
    assert summary.exact_matches == [1.0, 0.0]
    assert summary.f1s == [1.0, 0.0]
    assert summary.searches == [2, 0]
    assert summary.returns == pytest.approx([1.0 + first.beliefs[-1].prob - 0.1, -2.0])
    assert summary.beliefs[0] == pytest.approx([0.1, 0.1])
    assert [len(values) for _, values in sorted(summary.beliefs.items())] == [2, 2, 1]
    # The first search finds a gold passage, the second only what was there.
    gains = [after.prob - before.prob for before, after in pairwise(first.beliefs[:3])]
    assert gains[0] != gains[1]
    assert summary.gains == {
        "new evidence": [pytest.approx(gains[0])],
        "no new evidence": [pytest.approx(gains[1])],
    }


def test_the_interval_is_that_of_the_normal_approximation() -> None:
    mean, half = interval([0.0, 1.0, 1.0, 0.0])
    assert mean == 0.5
    assert half == pytest.approx(1.96 * math.sqrt(1 / 3) / 2)
    assert math.isnan(interval([1.0])[1])
