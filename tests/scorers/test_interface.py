"""What a scorer may answer, and what no belief can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from igpo_gym.episode import Belief, Segment
from igpo_gym.errors import ScoringError
from igpo_gym.numbers import FLOOR
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers import interface
from igpo_gym.scorers.interface import BeliefRequest, ask, check_tokens

PROMPT = (Segment("environment", "user", "Who?"),)
GOLD = ("Günter Grass", "Grass")
REQUESTS = [
    BeliefRequest(PROMPT, ("Danzig",), ANSWER_PROBE, "question '1', after turn 0"),
    BeliefRequest(PROMPT, GOLD, ANSWER_PROBE, "question '2', after turn 3"),
]
GOOD = Belief((-1.0,))


class Saying:
    """Says the same whatever it is asked."""

    def __init__(self, *beliefs: Any) -> None:
        self.beliefs = list(beliefs)

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        return self.beliefs


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        (Belief((-1.0, math.nan)), "the log-probability nan, which none can be"),
        (Belief((-1.0, math.inf)), "the log-probability inf, which none can be"),
        (Belief((-1.0, 0.5)), "the log-probability 0.5, which none can be"),
        (Belief((1000.0, -1.0)), "the log-probability 1000.0, which none can be"),
        (Belief((-1.0, True)), "True, which is no log-probability"),
        (Belief((-1.0, -1 + 0j)), "(-1+0j), which is no log-probability"),  # type: ignore[arg-type]
        (Belief((-1.0, None)), "None, which is no log-probability"),  # type: ignore[arg-type]
        (Belief((-1.0,)), "1 log-probabilities for 2 answers"),
        (Belief((-1.0, -1.0, -1.0)), "3 log-probabilities for 2 answers"),
        (Belief((-1.0, -1.0), ((-1.0,),)), "the tokens of 1 answers for 2"),
        (Belief((-1.0, -1.0), ((-1.0,), (math.nan,))), "the log-probability nan, which none can be"),
        ((-1.0, -1.0), "(-1.0, -1.0), which is no Belief"),
        (None, "None, which is no Belief"),
    ],
)
def test_what_no_belief_can_be_is_told_with_scorer_and_request(second: Any, problem: str) -> None:
    with pytest.raises(ScoringError) as told:
        ask(Saying(GOOD, second), REQUESTS)
    said = "the scorer Saying answered request 2 of 2 (question '2', after turn 3) with "
    assert str(told.value) == said + problem


@pytest.mark.parametrize("log_prob", [0.0, 1e-9, np.float32(-2.5), np.float64(-0.0), -3])
def test_what_a_belief_can_be_passes(log_prob: float) -> None:
    beliefs = [GOOD, Belief((log_prob, -1.0), ((log_prob,), (-1.0, -1.0)))]
    assert ask(Saying(*beliefs), REQUESTS) == beliefs


def test_an_impossible_answer_has_a_number_that_json_holds() -> None:
    never = Belief((-math.inf, -1.0), ((-math.inf, -0.5), (-1.0, -1.0)))
    first, second = ask(Saying(GOOD, never), REQUESTS)
    assert (first, second.log_probs) == (GOOD, (FLOOR, -1.0))
    assert second.token_log_probs == ((FLOOR, -0.5), (-1.0, -1.0))
    assert math.exp(FLOOR) == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_beliefs_is_told(count: int) -> None:
    with pytest.raises(ScoringError, match=f"Saying gave {count} beliefs for 2 requests"):
        ask(Saying(*[GOOD] * count), REQUESTS)


@pytest.mark.parametrize(
    ("before", "answers", "problem"),
    [
        ([1], [[2], []], "answer 2 of 2 of question '2', after turn 3 has no tokens"),
        ([], [[2], [3]], "what stands in front of the 2 answers of question '2', after turn 3 has no tokens"),
    ],
)
def test_messages_never_show_answers(before: list[int], answers: list[list[int]], problem: str) -> None:
    with pytest.raises(ScoringError) as told:
        check_tokens(REQUESTS[1], before, answers)
    assert str(told.value) == problem
    check_tokens(REQUESTS[1], [1], [[2], [3]])


class Brief(Saying):
    """Tells of the first alias alone."""

    max_aliases = 1


def test_a_scorer_that_leaves_out_aliases_is_held_to_its_number_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    interface._tell_left_out.cache_clear()
    for _ in range(2):
        assert ask(Brief(GOOD, GOOD), REQUESTS) == [GOOD, GOOD]
    assert [record.getMessage() for record in caplog.records] == [
        "of questions with more than 1 answers the first 1 are asked about"
    ]
    with pytest.raises(ScoringError, match="2 log-probabilities for 1 answers"):
        ask(Brief(GOOD, Belief((-1.0, -1.0))), REQUESTS)


def test_answers_that_are_not_aliases_are_all_asked_about() -> None:
    candidates = replace(REQUESTS[1], aliases=False)
    assert candidates.asked(1) == GOLD
    assert ask(Brief(Belief((-1.0, -1.0))), [candidates])[0].log_probs == (-1.0, -1.0)
