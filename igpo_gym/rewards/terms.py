"""Reward terms: each prices one turn of an episode by one idea.

A term is a name, a function of ``(episode, turn)`` and what it needs. Turns count from 1; the function may
look at anything up to and including its turn. Write your own like this:

>>> from igpo_gym.rewards import RewardFunction, RewardTerm
>>> brevity = RewardTerm("brevity", lambda episode, turn: -len(episode.turns[turn - 1].message) / 1000)
>>> RewardFunction("mine", ((1.0, TERMS["f1"]), (0.5, brevity))).name
'mine'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from igpo_gym.data.metrics import exact_match, f1
from igpo_gym.episode import Answer, Belief, Episode, Invalid

Price = Callable[[Episode, int], float]


@dataclass(frozen=True, slots=True)
class RewardTerm:
    """One named part of a reward."""

    name: str
    price: Price
    """The unweighted value of a turn."""
    needs_belief: bool = False
    """Whether a scorer must be at work."""


def _difference(value: Callable[[Belief], float]) -> Price:
    """The change of ``value`` over a turn; 0 for an answer, and for a search that the backend failed."""

    def price(episode: Episode, turn: int) -> float:
        played = episode.turns[turn - 1]
        if isinstance(played.action, Answer) or played.search_failed:
            return 0.0
        return value(episode.beliefs[turn]) - value(episode.beliefs[turn - 1])

    return price


def _at_the_end(metric: Callable[[str | None, tuple[str, ...]], float]) -> Price:
    """``metric`` of the prediction, paid on the last turn; a truncated episode predicts nothing."""

    def price(episode: Episode, turn: int) -> float:
        if not episode.done or turn != len(episode.turns):
            return 0.0
        return metric(episode.prediction, episode.question.answers)

    return price


def _malformed(episode: Episode, turn: int) -> float:
    """-1 for an invalid message, and for an episode that ends without an answer; never both in one turn."""
    unanswered = episode.truncated and turn == len(episode.turns)
    return -1.0 if unanswered or isinstance(episode.turns[turn - 1].action, Invalid) else 0.0


INFORMATION_GAIN = RewardTerm("gain", _difference(lambda belief: belief.prob), needs_belief=True)
"""``b_t - b_{t-1}``: change of the length-normalised probability of the gold answer (IGPO, 2510.14967)."""

LOG_INFORMATION_GAIN = RewardTerm("log-gain", _difference(lambda belief: belief.log_prob), needs_belief=True)
"""``log b_t - log b_{t-1}`` in nats per token (Delta-Belief, 2602.12342)."""

TERMS = {
    term.name: term
    for term in (
        INFORMATION_GAIN,
        LOG_INFORMATION_GAIN,
        RewardTerm("f1", _at_the_end(f1)),
        RewardTerm("em", _at_the_end(exact_match)),
        RewardTerm("format", _malformed),
    )
}
