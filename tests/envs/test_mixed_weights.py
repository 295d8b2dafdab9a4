"""Weights that change within an episode: both beliefs of a gain are of one version, and it is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.info import episode_info
from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError
from igpo_gym.rewards import resolve_reward
from igpo_gym.scorers.interface import BeliefRequest
from tests.conftest import QUESTIONS, play

SEARCH = "<search>Danzig</search>"


class Versions:
    """Believes a hundredth of the version for each segment; ``of`` gives the version of each call."""

    max_aliases = 1

    def __init__(self, of: Callable[[int], int]) -> None:
        self.of = of
        self.calls: list[int] = []

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        self.calls.append(len(requests))
        version = self.of(len(self.calls))
        return [
            Belief((math.log(version * len(request.segments) / 100),), weights=f"v{version}")
            for request in requests
        ]


def test_the_episodes_beliefs_are_asked_anew(engine: Engine) -> None:
    scorer = Versions(lambda call: 1 if call < 3 else 2)
    episode = play(replace(engine, scorer=scorer), 0, SEARCH, SEARCH)
    assert scorer.calls == [1, 1, 1, 3]
    lengths = [len(episode.context(turn)) for turn in range(3)]
    assert [belief.weights for belief in episode.beliefs] == ["v2"] * 3
    assert [belief.prob for belief in episode.beliefs] == pytest.approx([2 * n / 100 for n in lengths])
    paid = [sum(terms.values()) for terms in episode.rewards]
    # The first turn was paid under version 1, the second under version 2 alone.
    assert paid == pytest.approx([(lengths[1] - lengths[0]) / 100, 2 * (lengths[2] - lengths[1]) / 100])
    assert episode_info(episode)["mixed_weights"] is True
    read = from_record(to_record(episode))
    assert (read.beliefs[0].weights, read.extra["mixed_weights"]) == ("v2", True)


def test_views_are_asked_anew_too(engine: Engine) -> None:
    scorer = Versions(lambda call: 1 if call < 3 else 2)
    reward = resolve_reward("igpo(context=evidence)")
    episode = play(replace(engine, scorer=scorer, reward=reward), 0, SEARCH, SEARCH)
    assert {belief.weights for state in episode.views for belief in state.values()} == {"v2"}


def test_one_version_is_never_asked_twice(engine: Engine) -> None:
    scorer = Versions(lambda call: 1)
    episode = play(replace(engine, scorer=scorer), 0, SEARCH, SEARCH)
    assert scorer.calls == [1, 1, 1]
    assert episode_info(episode)["mixed_weights"] is False
    assert "mixed_weights" not in to_record(episode)


def test_weights_that_change_at_every_request_undo_the_step(engine: Engine) -> None:
    """A call that tells two versions at once cannot be mended by asking again."""

    class Torn(Versions):
        def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
            told = super().score(requests)
            return [replace(belief, weights=f"v{len(self.calls)}.{n}") for n, belief in enumerate(told)]

    torn = replace(engine, scorer=Torn(lambda call: 1))
    (episode,) = torn.begin([QUESTIONS[0]])
    torn.start([episode])
    before = list(episode.beliefs)
    with pytest.raises(ScoringError, match="change at every request"):
        torn.settle(torn.play([episode], [SEARCH]))
    assert (episode.beliefs, episode.turns, episode.extra) == (before, [], {})
    assert episode.beliefs[0].weights == before[0].weights
