from __future__ import annotations

import pytest

from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode
from igpo_gym.rewards.pricing import reprice
from tests.conftest import QUESTIONS, MentionScorer


def play(engine: Engine, question: int, *messages: str) -> Episode:
    (episode,) = engine.begin([QUESTIONS[question]])
    engine.settle([], [episode])
    for message in messages:
        engine.settle(engine.play([episode], [message]))
    return episode


def test_the_recorded_variant_gives_the_recorded_rewards(engine: Engine) -> None:
    episodes = [
        play(
            engine, 1, "<search>Tin Drum</search>", "<search>Günter Grass</search>", "<answer>Danzig</answer>"
        ),
        play(engine, 2, "hm", "<search>Odra</search>", "<search>river</search>"),
        play(engine, 0, "<answer>Grass</answer>"),
    ]
    for scorer in (MentionScorer(), None):
        priced = list(reprice(iter(episodes), ["igpo", "outcome-em"], scorer, batch_size=2))
        for episode, result in zip(episodes, priced, strict=True):
            assert result.rewards["igpo"] == [pytest.approx(terms) for terms in episode.rewards]
            assert list(result.rewards) == ["igpo", "outcome-em"]
