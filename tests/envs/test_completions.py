from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs import SearchQAEnv
from igpo_gym.envs.completions import FIRST_ATTEMPT, Completions
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode
from igpo_gym.rewards.interface import State
from tests.conftest import QUESTIONS, MentionScorer


class Counting:
    """Searches once, then answers rightly in every second attempt, and with half of the words in others."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        self.batches.append(len(episodes))
        return [self.message(episode) for episode in episodes]

    @staticmethod
    def message(episode: Episode) -> str:
        if not episode.turns:
            return "<search>drum</search>"
        return f"<answer>{'Günter Grass' if episode.attempt % 2 else 'Günter Eich'}</answer>"


def latest(episodes: Sequence[Episode]) -> list[State]:
    return [(episode, len(episode.turns)) for episode in episodes]


def test_the_value_is_the_mean_f1_of_the_completions(engine: Engine, scorer: MentionScorer) -> None:
    episodes = engine.begin(QUESTIONS[:1] * 2)
    engine.start(episodes)
    engine.settle(engine.play(episodes[1:], ["<search>Tin Drum</search>"]))
    before, calls = copy.deepcopy(episodes), list(scorer.calls)
    policy = Counting()
    value = Completions(engine, policy, 4, batch_size=3)
    assert value.measure(latest(episodes)) == pytest.approx([0.75, 0.75])
    # In batches of three: the first episode's completions search before they answer, the second's do not.
    assert policy.batches == [3, 3, 3, 1, 2]
    assert (episodes, scorer.calls) == (before, calls)


def test_completions_are_not_graded(question_set: QuestionSet) -> None:
    class Judge:
        graded = 0

        def grade(self, questions: Sequence[str], *_: Sequence[Any]) -> list[str]:
            self.graded += len(questions)
            return ["correct"] * len(questions)

    judge = Judge()
    reward = "value-gain(completions=4) + judge"
    env = SearchQAEnv(questions=question_set, policy=Counting(), judge=judge, reward=reward, scorer=None)
    env.reset(seed=0)
    env.step("<search>Danzig</search>")
    assert judge.graded == 0
    env.step("<answer>Danzig</answer>")
    assert judge.graded == 1


def test_completions_are_attempts_of_their_own(engine: Engine) -> None:
    seen = []

    class Watching(Counting):
        def act(self, episodes: Sequence[Episode]) -> list[str]:
            seen.extend(episode.attempt for episode in episodes)
            return super().act(episodes)

    Completions(engine, Watching(), 2).measure(latest(engine.begin(QUESTIONS[:1], [7])))
    assert set(seen) == {FIRST_ATTEMPT, FIRST_ATTEMPT + 1}


def test_turns_that_run_out_are_worth_nothing(engine: Engine, question_set: QuestionSet) -> None:
    class Silent:
        def act(self, episodes: Sequence[Episode]) -> list[str]:
            return ["hm"] * len(episodes)

    assert Completions(engine, Silent(), 2).measure(latest(engine.begin(QUESTIONS[:1]))) == [0.0]
    assert Completions(engine, ScriptedAgent("expert", question_set), 2).measure([]) == []


def test_an_episode_that_has_ended_has_nothing_left_to_complete(
    engine: Engine, question_set: QuestionSet
) -> None:
    (episode,) = engine.begin(QUESTIONS[:1])
    engine.start([episode])
    engine.settle(engine.play([episode], ["<answer>Grass</answer>"]))
    value = Completions(engine, ScriptedAgent("expert", question_set), 1)
    assert value.measure([(episode, 1), (episode, 0)]) == [0.0, 1.0]
    assert value.name == "value(completions=1)"
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Completions(engine, Counting(), 0)
