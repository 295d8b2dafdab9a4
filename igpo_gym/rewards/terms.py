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
from typing import Literal, TypeAlias

from igpo_gym.data.metrics import exact_match, f1
from igpo_gym.episode import Answer, Episode, Invalid, Search

Price: TypeAlias = Callable[[Episode, int], float]
Need: TypeAlias = Literal["belief", "evidence"]


@dataclass(frozen=True, slots=True)
class RewardTerm:
    """One named part of a reward."""

    name: str
    price: Price
    """The unweighted value of a turn."""
    needs: frozenset[Need] = frozenset()
    """What must be there: "belief" a scorer at work, "evidence" questions that name their gold passages."""
    formula: str = ""
    source: str = ""
    """Where the formula comes from: an arXiv number, or words."""


def _on_belief(value: Callable[[Episode, int], float]) -> Price:
    """``value`` of a turn; 0 for an answer, which has no belief, and for a search that the backend failed."""

    def price(episode: Episode, turn: int) -> float:
        played = episode.turns[turn - 1]
        return 0.0 if isinstance(played.action, Answer) or played.search_failed else value(episode, turn)

    return price


def _gain(episode: Episode, turn: int) -> float:
    return episode.beliefs[turn].prob - episode.beliefs[turn - 1].prob


def _log_gain(episode: Episode, turn: int) -> float:
    return episode.beliefs[turn].log_prob - episode.beliefs[turn - 1].log_prob


def _new_best(episode: Episode, turn: int) -> float:
    return max(0.0, episode.beliefs[turn].prob - max(belief.prob for belief in episode.beliefs[:turn]))


def potential(gamma: float = 1.0) -> RewardTerm:
    """Shaping that leaves the best policy as it is (Ng et al., 1999), with the belief as the potential.

    The potential of an ended episode is 0, so the discounted sum over an episode is minus its first belief,
    whatever the agent did.
    """

    def price(episode: Episode, turn: int) -> float:
        ended = episode.done and turn == len(episode.turns)
        return gamma * (0.0 if ended else episode.beliefs[turn].prob) - episode.beliefs[turn - 1].prob

    return RewardTerm(
        "potential",
        price,
        needs=frozenset({"belief"}),
        formula="gamma * b_t - b_{t-1}, with b = 0 at the end",
        source="Ng et al., 1999",
    )


def _at_the_end(metric: Callable[[str | None, tuple[str, ...]], float]) -> Price:
    """``metric`` of the prediction, paid on the last turn; a truncated episode predicts nothing."""

    def price(episode: Episode, turn: int) -> float:
        if not episode.done or turn != len(episode.turns):
            return 0.0
        return metric(episode.prediction, episode.question.answers)

    return price


def _malformed(episode: Episode, turn: int) -> float:
    """1 for an invalid message, and for an episode that ends without an answer; never both in one turn."""
    unanswered = episode.truncated and turn == len(episode.turns)
    return float(unanswered or isinstance(episode.turns[turn - 1].action, Invalid))


def _seen_before(episode: Episode, turn: int) -> set[str]:
    return {passage.id for played in episode.turns[: turn - 1] for passage in played.passages}


def _evidence_recall(episode: Episode, turn: int) -> float:
    """The share of the gold passages that this turn is the first to find. Raises ValueError without gold."""
    gold = set(episode.question.evidence)
    if not gold:
        raise ValueError(f"question {episode.question.id!r} names no gold evidence")
    found = {passage.id for passage in episode.turns[turn - 1].passages}
    return len((found & gold) - _seen_before(episode, turn)) / len(gold)


def _redundancy(episode: Episode, turn: int) -> float:
    """Minus the share of the turn's passages that an earlier turn had found; 0 where it found none."""
    found = [passage.id for passage in episode.turns[turn - 1].passages]
    seen = _seen_before(episode, turn)
    return -sum(passage in seen for passage in found) / len(found) if found else 0.0


def _search_cost(episode: Episode, turn: int) -> float:
    return float(isinstance(episode.turns[turn - 1].action, Search))


_BELIEF: frozenset[Need] = frozenset({"belief"})

INFORMATION_GAIN = RewardTerm("gain", _on_belief(_gain), _BELIEF, "b_t - b_{t-1}", "IGPO, 2510.14967")
"""The change of the length-normalised probability of the gold answer."""

TERMS = {
    term.name: term
    for term in (
        INFORMATION_GAIN,
        RewardTerm(
            "log-gain", _on_belief(_log_gain), _BELIEF, "log b_t - log b_{t-1}", "Delta-Belief, 2602.12342"
        ),
        RewardTerm(
            "new-best", _on_belief(_new_best), _BELIEF, "max(0, b_t - max_{s<t} b_s)", "watermark, 2602.01034"
        ),
        potential(),
        RewardTerm(
            "evidence-recall",
            _evidence_recall,
            frozenset({"evidence"}),
            "gold passages found first / gold passages",
            "StepSearch family, 2505.15107",
        ),
        RewardTerm(
            "redundancy",
            _redundancy,
            formula="- passages seen before / passages",
            source="StepSearch family, 2505.15107",
        ),
        RewardTerm("search-cost", _search_cost, formula="1 for a search: subtract it", source="common"),
        RewardTerm(
            "format-penalty",
            _malformed,
            formula="1 for an invalid message, or no answer at the end: subtract it",
            source="common",
        ),
        RewardTerm("f1", _at_the_end(f1), formula="F1 of the answer, at the end", source="SQuAD, HotpotQA"),
        RewardTerm(
            "em", _at_the_end(exact_match), formula="exact match, at the end", source="SQuAD, HotpotQA"
        ),
    )
}
"""The terms by name; b_t is the belief after turn t."""
