from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.rollouts.branches import Branching
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.costs import Budget, Meter, Spent
from igpo_gym.config import EnvConfig
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Episode
from igpo_gym.errors import BudgetSpentError
from igpo_gym.scorers import resolve_scorer
from tests.agents.rollouts.test_branches import Varied
from tests.conftest import QUESTIONS


def test_what_is_counted_is_what_was_asked() -> None:
    config = EnvConfig(questions="world:test#documents=60,questions=4", scorer="nano", reward="igpo")
    questions, engine = assemble(config)
    scorer = resolve_scorer("nano")
    meter = Meter()
    meter.watch(scorer, scorer, None)
    expert = resolve_policy("expert", questions, engine.protocol)
    played = list(collect(engine, expert, questions.questions[:4]))
    for episode in played:
        meter.saw(episode)
    turns = sum(len(episode.turns) for episode in played)
    assert meter.spent.messages == turns
    assert meter.spent.searches == turns - 4  # the expert's last turn answers, the others search once
    assert meter.spent.beliefs == sum(len(episode.beliefs) for episode in played)
    assert meter.spent.tokens > meter.spent.beliefs


def test_what_branches_share_is_counted_once(engine: Engine) -> None:
    class Counting(Varied):
        asked = 0

        def act(self, episodes: Sequence[Episode]) -> list[str]:
            self.asked += len(episodes)
            return super().act(episodes)

    policy, meter = Counting(), Meter()
    played = list(collect(engine, policy, QUESTIONS[:2], 2, branching=Branching.parse("even:2")))
    for episode in played:
        meter.saw(episode)
    assert len(played) == 6
    assert (meter.spent.messages, meter.spent.searches) == (policy.asked, policy.asked - 6)


def test_hours_are_those_of_the_clock() -> None:
    ticks = itertools.count(0.0, 1800.0)
    meter = Meter(Budget(hours=1), lambda: next(ticks))
    meter.add(Spent())
    assert [meter.over, meter.over] == [False, True]


def test_a_run_that_is_over_before_its_first_piece_gets_on() -> None:
    meter = Meter(Budget(hours=1e-9))
    assert list(meter.until([1])) == [1]
    meter.add(Spent())
    assert list(meter.until([2])) == []
    with pytest.raises(BudgetSpentError, match="1 of 2 pieces are done"):
        meter.check(1, 2, "pieces")
    meter.check(2, 2, "pieces")
