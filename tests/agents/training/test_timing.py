from __future__ import annotations

import pytest

from igpo_gym.agents.training.timing import Stopwatch, TimedPolicy, TimedScorer
from igpo_gym.episode import Question
from igpo_gym.protocols import TAGS
from igpo_gym.scorers.interface import BeliefRequest
from tests.conftest import MentionScorer

QUESTION = Question("q", "Who wrote The Tin Drum?", ("Günter Grass",))


class Mute:
    def act(self, episodes: object) -> list[str]:
        return ["..."]


def test_time_is_counted_where_it_is_spent() -> None:
    watch = Stopwatch()
    request = BeliefRequest(TAGS.prompt(QUESTION), QUESTION.answers, TAGS.probe)
    assert len(TimedScorer(MentionScorer(), watch).score([request])) == 1
    assert watch.seconds["scoring"] > 0
    assert watch.seconds["sampling"] == watch.seconds["update"] == 0
    assert TimedPolicy(Mute(), watch).act([]) == ["..."]
    assert watch.seconds["sampling"] > 0
    with pytest.raises(ZeroDivisionError), watch("update"):
        raise ZeroDivisionError
    assert watch.seconds["update"] > 0
    watch.reset()
    assert set(watch.seconds.values()) == {0.0}
