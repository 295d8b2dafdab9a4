"""Weights that change while episodes are priced: their beliefs end up of one version, whoever asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Belief, Segment
from igpo_gym.errors import ScoringError
from igpo_gym.rewards.pricing import Pricing, opened, turn_of
from igpo_gym.rewards.relabel import relabel
from igpo_gym.scorers.interface import BeliefRequest
from tests.conftest import play

SEARCH = "<search>Danzig</search>"


class Versions:
    """Believes a hundredth of the version for each segment; ``of`` tells the version of a call's request."""

    max_aliases = 1

    def __init__(self, of: Callable[[int, int], int]) -> None:
        self.of = of
        self.calls: list[int] = []

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        self.calls.append(len(requests))
        versions = [self.of(len(self.calls), place) for place in range(len(requests))]
        return [
            Belief((math.log(version * len(request.segments) / 100),), weights=f"v{version}")
            for version, request in zip(versions, requests, strict=True)
        ]


def test_relabeled_episodes_are_asked_anew(engine: Engine) -> None:
    """The weights change amid the first call: the first episode is of one version, the second of two."""
    episodes = [play(engine, 0, SEARCH, SEARCH), play(engine, 1, SEARCH, SEARCH)]
    scorer = Versions(lambda call, place: 1 if call == 1 and place < 4 else 2)
    first, second = relabel(episodes, ["igpo"], scorer)
    assert scorer.calls == [6, 3]
    assert [belief.weights for belief in first.episode.beliefs] == ["v1"] * 3
    assert [belief.weights for belief in second.episode.beliefs] == ["v2"] * 3
    lengths = [len(episodes[1].context(turn)) for turn in range(3)]
    paid = [sum(terms.values()) for terms in second.rewards["igpo"]]
    assert paid[0] == pytest.approx(2 * (lengths[1] - lengths[0]) / 100)
    assert ("mixed_weights" in first.episode.extra, second.episode.extra["mixed_weights"]) == (False, True)
    assert "mixed_weights" not in episodes[1].extra  # what was handed in stays as it was


def test_recorded_beliefs_of_another_model_survive_being_asked_anew(engine: Engine) -> None:
    both = replace(engine, reference=engine.scorer, reward=engine.reward)
    (priced,) = relabel([play(both, 0, SEARCH)], ["tips"], "none", reference=engine.scorer)
    recorded = priced.episode
    recorded.rewards = []
    scorer = Versions(lambda call, place: 2 if call > 1 else place + 1)
    (again,) = relabel([recorded], ["igpo"], scorer)
    assert again.episode.views == recorded.views != []
    assert {belief.weights for belief in again.episode.beliefs} == {"v2"}


def test_turns_of_others_are_asked_anew() -> None:
    scorer = Versions(lambda call, place: min(call, 2))
    pricing = Pricing.of("gain", scorer)
    episode = opened([Segment("environment", "user", "Who?")], "Ada", "q")
    pricing.measure([(episode, 0)])
    episode.append(turn_of("tell", [Segment("environment", "user", "Ada")], last=False))
    pricing.measure([(episode, 1)])
    lengths = [len(episode.context(turn)) for turn in range(2)]
    assert scorer.calls == [1, 1, 2]
    assert sum(pricing.price(episode, 1).values()) == pytest.approx(2 * (lengths[1] - lengths[0]) / 100)


def test_the_last_time_it_is_asked_counts(engine: Engine) -> None:
    """Five versions, the last of which is told throughout."""
    scorer = Versions(lambda call, place: call + place if call < 5 else 9)
    (priced,) = relabel([play(engine, 0, SEARCH)], ["igpo"], scorer)
    assert [belief.weights for belief in priced.episode.beliefs] == ["v9"] * 2
    torn = Versions(lambda call, place: call + place)
    with pytest.raises(ScoringError, match="change at every request"):
        list(relabel([play(engine, 0, SEARCH)], ["igpo"], torn))
    assert torn.calls == scorer.calls == [2] * 5
