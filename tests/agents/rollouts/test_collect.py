from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.collect import collect, collect_groups
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import EndReason, Episode, Question
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import PRESETS
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import Search
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer


class Patient:
    """Searches as often as the question's place says, then answers; keeps the size of every batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        self.batches.append(len(episodes))
        places = [QUESTIONS.index(episode.question) for episode in episodes]
        return [
            "<search>river</search>" if len(episode.turns) < place else "<answer>x</answer>"
            for episode, place in zip(episodes, places, strict=True)
        ]


INDEX = BM25Index.build(PASSAGES)


class Says:
    """Whatever the policy returns."""

    def __init__(self, said: Any) -> None:
        self.said = said

    def act(self, episodes: Sequence[Episode]) -> Any:
        return self.said


@pytest.mark.parametrize(
    ("said", "told"), [(["a"], "1"), (["a"] * 3, "3"), (None, "NoneType"), ("ab", "str"), (5, "int")]
)
def test_a_policy_that_does_not_answer_every_episode_is_named(said: Any, told: str) -> None:
    engine = Engine(TAGS, (Search(INDEX, 2),), PRESETS["igpo"], MentionScorer(), Rules(6))
    problem = f"the policy Says must return a message for each of 2 episodes, and returned {told}"
    with pytest.raises(TypeError, match=problem):
        list(collect(engine, Says(said), QUESTIONS[:2]))


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 7))
def test_every_question_is_played_to_its_end_with_full_batches(places: list[int], batch_size: int) -> None:
    engine = Engine(TAGS, (Search(INDEX, 2),), PRESETS["igpo"], MentionScorer(), Rules(6))
    policy = Patient()
    questions = [QUESTIONS[place] for place in places]
    episodes = list(collect(engine, policy, questions, batch_size))
    assert sorted(episode.question.id for episode in episodes) == sorted(q.id for q in questions)
    assert all(episode.done for episode in episodes)
    assert all(len(episode.turns) == QUESTIONS.index(episode.question) + 1 for episode in episodes)
    # No batch is larger than asked, and none is smaller while questions wait.
    assert sum(policy.batches) == sum(place + 1 for place in places)
    assert max(policy.batches, default=0) <= batch_size
    shrinking = [size for size in policy.batches if size < batch_size]
    assert shrinking == sorted(shrinking, reverse=True)


def test_a_step_of_a_rollout_is_one_belief_call(engine: Engine) -> None:
    scorer = MentionScorer()
    policy = Patient()
    engine = dataclasses.replace(engine, scorer=scorer, rules=Rules(6))
    list(collect(engine, policy, QUESTIONS * 5, 4))
    assert len(scorer.calls) <= len(policy.batches) + 1


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0)])
def test_an_empty_batch_or_group_is_refused(engine: Engine, sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="batch_size and group_size must be at least 1"):
        list(collect(engine, Patient(), QUESTIONS, *sizes))


def test_groups_come_in_the_order_of_the_questions(engine: Engine) -> None:
    questions = [QUESTIONS[2], QUESTIONS[0], QUESTIONS[2]]
    groups = collect_groups(engine, Patient(), questions, group_size=3, batch_size=4)
    assert [[episode.question for episode in group] for group in groups] == [[q] * 3 for q in questions]
    # A question that comes again gets new attempts, so that a seeded policy draws other messages.
    assert [[e.attempt for e in group] for group in groups] == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert all(episode.done for group in groups for episode in group)


def test_what_is_done_is_not_played_again(engine: Engine) -> None:
    done = {(QUESTIONS[0].id, 1), (QUESTIONS[1].id, 0)}
    played = collect(engine, Patient(), QUESTIONS[:2], group_size=2, done=done)
    assert {(episode.question.id, episode.attempt) for episode in played} == {
        (QUESTIONS[0].id, 0),
        (QUESTIONS[1].id, 1),
    }


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("places", [(0, 1), (0,), (2, 3), (0, 1, 2, 3)])
def test_a_question_that_is_too_long_is_left_out_and_the_others_are_played(
    places: tuple[int, ...], batch_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(TAGS, (Search(INDEX, 2),), PRESETS["igpo"], MentionScorer(longest=2000), Rules(6))
    short = [Question(f"q{place}", "Who?", ("Grass",)) for place in range(4)]
    asked = [
        dataclasses.replace(each, text="Who? " * 500) if place in places else each
        for place, each in enumerate(short)
    ]

    class Answers:
        def act(self, episodes: Sequence[Episode]) -> list[str]:
            return ["<answer>Grass</answer>" for _ in episodes]

    played = {episode.question.id: episode for episode in collect(engine, Answers(), asked, batch_size)}
    assert len(played) == 4
    for place in range(4):
        episode = played[f"q{place}"]
        left_out = place in places
        assert (episode.end, len(episode.turns)) == (
            (EndReason.ABORTED, 0) if left_out else (EndReason.ANSWERED, 1)
        )
        assert caplog.text.count(f"question 'q{place}' is left out: the prompt of") == left_out


def test_a_question_whose_prompt_leaves_the_agent_no_room_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine(TAGS, (Search(INDEX, 2),), PRESETS["outcome-f1"], None, Rules(6))
    asked = [Question(f"q{place}", "Who? " * (500 if place == 1 else 1), ("Grass",)) for place in range(3)]

    class Small:
        """Searches as long as it can."""

        def act(self, episodes: Sequence[Episode]) -> list[str]:
            return ["<search>Tin Drum</search>" for _ in episodes]

        def has_room(self, episode: Episode) -> bool:
            return len(episode.question.text) < 1500 and len(episode.turns) < 2

    ends = {each.question.id: (each.end, len(each.turns)) for each in collect(engine, Small(), asked)}
    exhausted = (EndReason.CONTEXT_EXHAUSTED, 2)
    assert ends == {"q0": exhausted, "q1": (EndReason.ABORTED, 0), "q2": exhausted}
    assert caplog.text.count("question 'q1' is left out: its prompt leaves the policy no room") == 1
