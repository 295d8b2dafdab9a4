from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from igpo_gym.agents.rollouts.summary import bootstrap, interval, summarize
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode
from tests.conftest import QUESTIONS


def play(engine: Engine, question: int, *messages: str) -> Episode:
    (episode,) = engine.begin([QUESTIONS[question]])
    engine.start([episode])
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
    summary = summarize([first, second])
    assert summary.exact_matches == [1.0, 0.0]
    assert summary.f1s == [1.0, 0.0]
    assert summary.questions == ["q-birth", "q-river"]
    assert summary.cover_matches == [1.0, 0.0]
    assert summary.answered == [1.0, 1.0]
    assert summary.valid_actions == [1.0, 0.5]
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


def test_attempts_at_one_question_are_one_value_of_the_bootstrap() -> None:
    draw = np.random.default_rng(0)
    values = draw.random(40)
    ids = [str(number) for number in range(40)]
    mean, low, high = bootstrap(values.tolist(), ids)
    assert mean == pytest.approx(values.mean())
    # The percentile bootstrap of a mean is the normal approximation, nearly, with 40 values.
    half = 1.96 * values.std(ddof=1) / math.sqrt(40)
    assert (low, high) == (pytest.approx(mean - half, abs=0.01), pytest.approx(mean + half, abs=0.01))
    assert bootstrap([*values, *values], [*ids, *ids]) == (mean, low, high)


@pytest.mark.parametrize(("values", "ids"), [([0.5], ["1"]), ([0.2, 0.8], ["1", "1"])])
def test_one_question_has_no_interval(values: list[float], ids: list[str]) -> None:
    mean, low, high = bootstrap(values, ids)
    assert mean == 0.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_values_that_are_all_the_same_have_an_interval_of_no_width() -> None:
    assert bootstrap([1.0, 1.0, 1.0], ["1", "2", "3"]) == (1.0, 1.0, 1.0)


def test_without_scipy_the_normal_approximation_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igpo_gym.agents.rollouts.summary.find_spec", lambda name: None)
    mean, half = interval([0.0, 1.0, 1.0, 0.0])
    assert bootstrap([0.0, 1.0, 1.0, 0.0], list("abcd")) == (mean, mean - half, mean + half)
