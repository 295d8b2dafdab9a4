"""The contract of a belief scorer, and what it is asked."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from numbers import Real
from typing import Protocol

from igpo_gym.episode import Belief, Segment
from igpo_gym.errors import ScoringError, TranscriptTooLongError
from igpo_gym.numbers import FLOOR
from igpo_gym.protocols import AnswerProbe

logger = logging.getLogger(__name__)


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
    origin: str = field(default="", compare=False)
    """The question's id and the turn, for messages: these never show answers."""
    aliases: bool = True
    """Whether the answers are names of one thing, of which a scorer may leave out the later ones."""

    def asked(self, max_aliases: int | None) -> tuple[str, ...]:
        """The answers that a scorer is asked about that takes so many aliases: the first; None is all.

        >>> BeliefRequest((), ("Danzig", "Gdańsk", "Gedanum"), AnswerProbe("", "")).asked(2)
        ('Danzig', 'Gdańsk')
        """
        return self.answers[:max_aliases] if self.aliases else self.answers


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


def most_aliases(scorer: AnswerScorer) -> int | None:
    """Of how many aliases a scorer tells: its ``max_aliases``; None, or without it, of all."""
    return getattr(scorer, "max_aliases", None)


@cache
def _tell_left_out(most: int) -> None:
    logger.warning("of questions with more than %d answers the first %d are asked about", most, most)


def ask(scorer: AnswerScorer, requests: Sequence[BeliefRequest]) -> list[Belief]:
    """The scorer's beliefs: the way in for every scorer's answer.

    Minus infinity, for an answer that a model holds to be impossible, is ``FLOOR``, which JSON can hold. A
    scorer that leaves out aliases (see :func:`most_aliases`) is logged once. Raises ScoringError, with the
    scorer and the request, for what no belief can be: another number of beliefs than of requests, or of
    log-probabilities than of answers, and a log-probability that is no number, is nan, or is above 0.
    """
    most = most_aliases(scorer)
    counts = [len(request.asked(most)) for request in requests]
    if most is not None and sum(counts) < sum(len(request.answers) for request in requests):
        _tell_left_out(most)
    beliefs = scorer.score(requests)
    name = f"the scorer {type(scorer).__name__}"
    if len(beliefs) != len(requests):
        raise ScoringError(f"{name} gave {len(beliefs)} beliefs for {len(requests)} requests")
    for place, (request, count, belief) in enumerate(zip(requests, counts, beliefs, strict=True), 1):
        if problem := _flaw(belief, count):
            origin = f" ({request.origin})" if request.origin else ""
            raise ScoringError(f"{name} answered request {place} of {len(requests)}{origin} with {problem}")
    return [belief if _is_finite(belief) else _floored(belief) for belief in beliefs]


def ask_readable(scorer: AnswerScorer, requests: Sequence[BeliefRequest]) -> list[Belief | None]:
    """As :func:`ask`, with None for a transcript that is longer than the model reads."""
    if not requests:
        return []
    try:
        return list(ask(scorer, requests))
    except TranscriptTooLongError as problem:
        places = [place for place in range(len(requests)) if place not in problem.requests]
        if len(places) == len(requests):
            raise
        rest = dict(zip(places, ask_readable(scorer, [requests[place] for place in places]), strict=True))
        return [rest.get(place) for place in range(len(requests))]


def _is_finite(belief: Belief) -> bool:
    return -math.inf not in belief.log_probs and not any(-math.inf in each for each in belief.token_log_probs)


def _floored(belief: Belief) -> Belief:
    def floored(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(max(value, FLOOR) for value in values)

    return replace(
        belief,
        log_probs=floored(belief.log_probs),
        token_log_probs=tuple(map(floored, belief.token_log_probs)),
    )


BELIEF_ROUNDING = 1e-6
"""By how much a log-probability may lie above 0, in nats."""


def _flaw(belief: object, answers: int) -> str:
    """Why this cannot be a belief in so many answers; empty if it can."""
    if not isinstance(belief, Belief):
        return f"{belief!r:.60}, which is no Belief"
    if len(belief.log_probs) != answers:
        return f"{len(belief.log_probs)} log-probabilities for {answers} answers"
    if belief.token_log_probs and len(belief.token_log_probs) != answers:
        return f"the tokens of {len(belief.token_log_probs)} answers for {answers}"
    for log_prob in (*belief.log_probs, *(each for answer in belief.token_log_probs for each in answer)):
        if isinstance(log_prob, bool) or not isinstance(log_prob, Real):
            return f"{log_prob!r:.60}, which is no log-probability"
        if math.isnan(log_prob) or log_prob > BELIEF_ROUNDING:
            return f"the log-probability {log_prob!r}, which none can be"
    return ""


def check_tokens(request: BeliefRequest, before: Sequence[int], answers: Sequence[Sequence[int]]) -> None:
    """Raise ScoringError if an answer, or all that stands in front of the answers, has no token ids."""
    of = f" of {request.origin}" if request.origin else ""
    lacking = next((place for place, ids in enumerate(answers, 1) if not ids), None)
    if lacking is not None:
        raise ScoringError(f"answer {lacking} of {len(answers)}{of} has no tokens")
    if not (before and answers):
        raise ScoringError(f"what stands in front of the {len(answers)} answers{of} has no tokens")


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

    def plus(self, **amounts: float) -> ScorerStats:
        """These, and so much more of some.

        >>> ScorerStats(requests=2).plus(requests=3, seconds=0.5).requests
        5
        """
        return replace(self, **{name: getattr(self, name) + amount for name, amount in amounts.items()})
