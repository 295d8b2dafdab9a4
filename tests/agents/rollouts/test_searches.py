from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest

from igpo_gym.agents.rollouts.searches import GAIN, LAST_BELIEF, searches
from igpo_gym.episode import Answer, Belief, EndReason, Episode, Question, Segment, ToolCall, ToolCalls, Turn

CALL = ToolCalls((ToolCall("search", {"query": "x"}),))


def episode(question: str, answer: str, *beliefs: float) -> Episode:
    asked = (Segment("environment", "user", "?"),)
    turns = [Turn("", CALL) for _ in beliefs[1:]] + [Turn(answer, Answer(answer))]
    measured = [Belief((math.log(belief),)) for belief in beliefs]
    return Episode(Question(question, "?", ("right",)), asked, turns, measured, end=EndReason.ANSWERED)


EPISODES = [
    episode("1", "right", 0.1, 0.5, 0.9),
    episode("2", "right", 0.2, 0.3),
    episode("3", "wrong", 0.3, 0.2),
    episode("4", "wrong", 0.1, 0.4),
    episode("5", "right", 0.4, 0.35),
    episode("6", "wrong", 0.2, 0.15, 0.2),
    episode("7", "wrong"),
]

PLAYED = [("mine", each) for each in EPISODES]


def test_the_figures_are_those_that_counting_gives() -> None:
    found = searches(PLAYED)
    right, wrong = [0.4, 0.4, 0.1, -0.05], [-0.1, 0.3, -0.05, 0.05]
    assert (found.episodes, found.right, found.unmeasured) == (7, 3, 1)
    assert found.gained().value == pytest.approx(5 / 8)
    wins = [(a > b) + 0.5 * (abs(a - b) < 1e-9) * (a <= b) for a, b in product(right, wrong)]
    estimate = found.auc(GAIN)
    assert estimate.value == pytest.approx(sum(wins) / len(wins), abs=1 / 32)  # a tie, by rounding, is half
    assert estimate.units == 6
    assert 0 <= estimate.low < estimate.value < estimate.high <= 1
    # 0.9, 0.3 and 0.35 against 0.2, 0.4 and 0.2: 3, 2 and 2 of the 9 pairs.
    assert found.auc(LAST_BELIEF).value == pytest.approx(7 / 9)


def test_the_curves_are_means_of_those_that_got_so_far() -> None:
    found = searches(PLAYED)
    curve = {turn: estimate.value for turn, estimate in found.curve(right=True)}
    assert curve == pytest.approx({0: 0.7 / 3, 1: 1.15 / 3, 2: 0.9})
    assert [turn for turn, _ in found.curve(right=False)] == [0, 1, 2]


def test_another_metric_calls_other_answers_right() -> None:
    found = searches([("mine", episode("1", "it is right", 0.1, 0.2))], "cover_em")
    assert found.right == 1
    assert searches([("mine", episode("1", "it is right", 0.1, 0.2))]).right == 0


def test_questions_of_two_sets_are_two_questions_whatever_their_ids() -> None:
    found = searches(PLAYED + [("theirs", each) for each in EPISODES])
    assert found.auc(GAIN).units == 12


def test_protected_episodes_are_right_where_their_records_say_so() -> None:
    sealed = []
    for number, scores in enumerate(({"em": 1.0}, {"em": 0.0}, {"em": 1.0}, {})):
        played = episode(str(number), "a", 0.1, 0.2)
        question = replace(played.question, protected=True, text=f"hidden:{0:016x}")
        sealed.append(replace(played, question=question, extra={"sealed": scores}))
    found = searches([("browsecomp", each) for each in sealed])
    assert (found.episodes, found.right, found.untold) == (3, 2, 1)


def test_a_belief_that_is_carried_on_is_no_figure() -> None:
    """Where the scorer could not read the transcript, the belief is that of the state before."""
    cut = replace(episode("1", "right", 0.1, 0.5, 0.5), extra={"unread": [2]})
    found = searches([("mine", cut)])
    assert found.predictors[GAIN][True].values == pytest.approx([0.4])
    assert [turn for turn, _ in found.curve(right=True)] == [0, 1]


def test_an_aborted_episode_is_neither_right_nor_wrong() -> None:
    aborted = [
        replace(episode("8", answer, 0.1, 0.9), end=EndReason.ABORTED) for answer in ("right", "wrong")
    ]
    found = searches(PLAYED + [("mine", each) for each in aborted])
    assert (found.episodes, found.right, found.aborted) == (7, 3, 2)
    assert found.auc(GAIN) == searches(PLAYED).auc(GAIN)
