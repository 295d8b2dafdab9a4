"""The contract of a belief scorer, and what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from igpo_gym.episode import Belief, Segment
from igpo_gym.errors import ScoringError
from igpo_gym.protocols import AnswerProbe


@dataclass(frozen=True, slots=True)
class BeliefRequest:
    """How likely is each of ``answers`` after this transcript?

    >>> prompt = Segment("environment", "user", "Where?")
    >>> request = BeliefRequest((prompt,), ("Danzig", "Gdańsk"), AnswerProbe("<answer>", "</answer>"))
    >>> request.probe.around(request.answers[0])
    '<answer>Danzig</answer>'
    """

    segments: tuple[Segment, ...]
    """The transcript so far, oldest first."""
    answers: tuple[str, ...]
    """The gold answer and its aliases, at least one."""
    probe: AnswerProbe
    """What stands around the answer."""


class AnswerScorer(Protocol):
    """Gives beliefs.

    Stateless to its caller: the same request gives the same belief whatever was asked before, so that
    episodes may be scored in any order and by any number of environments. What it caches is its own affair.

    >>> class Sure:
    ...     def score(self, requests):
    ...         return [Belief(tuple(0.0 for _ in request.answers)) for request in requests]
    >>> from igpo_gym.protocols import ANSWER_PROBE
    >>> [belief.prob for belief in ask(Sure(), [BeliefRequest((), ("Danzig",), ANSWER_PROBE)])]
    [1.0]
    """

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order.

        Raises ScoringError when a belief cannot be had; TranscriptTooLongError names the requests whose
        transcripts are longer than the model reads.
        """
        ...


def ask(scorer: AnswerScorer, requests: Sequence[BeliefRequest]) -> list[Belief]:
    """The scorer's beliefs. Raises ScoringError where their number is not that of the requests."""
    beliefs = scorer.score(requests)
    if len(beliefs) != len(requests):
        raise ScoringError(f"the scorer gave {len(beliefs)} beliefs for {len(requests)} requests")
    return beliefs


@dataclass(frozen=True, slots=True)
class ScorerStats:
    """What a scorer has done since it was made."""

    requests: int = 0
    tokens_forwarded: int = 0
    """Tokens that the model read."""
    tokens_reused: int = 0
    """Tokens of the requests (transcripts, probes and answers) that it did not have to read."""
    tokens_minimum: int = 0
    """What an unlimited cache would have made it read: the transcripts' tokens once, each call's probes and
    answers once. Less than ``tokens_forwarded`` where the cache's budget was too small."""
    seconds: float = 0.0
    cache_bytes: int = 0
    """What the cache holds now."""
