"""What a reward term is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from igpo_gym.episode import BeliefView, Episode

Price: TypeAlias = Callable[[Episode, int], float]
"""The value of a turn, counted from 1. It may look at anything up to and including its turn."""
Need: TypeAlias = Literal["scorer", "reference", "corpus", "policy", "evidence"]


@dataclass(frozen=True, slots=True)
class RewardTerm:
    """One named part of a reward.

    >>> from igpo_gym.rewards import make_term
    >>> term = make_term("gain", context="evidence")
    >>> term.name, term.outcome, sorted(term.needs), term.formula
    ('gain(context=evidence)', False, ['scorer'], 'b_t - b_{t-1}')
    """

    name: str
    price: Price
    """The unweighted value of a turn."""
    views: tuple[BeliefView, ...] = ()
    """The beliefs that the price reads, with ``episode.belief(turn, view)``."""
    completions: int = 0
    """Where the price reads ``episode.values[turn][completions]``: how many a policy samples; else 0."""
    evidence: bool = False
    """Whether the questions must name their gold passages."""
    outcome: bool = False
    """Whether it pays for how the episode ends, and not for what a turn brings."""
    last_turn: bool = False
    """Of a term that is no outcome: whether it pays on the last turn of an episode too. A reward without such
    a term has no gain there: the outcome alone pays that turn, and a 0 is not averaged in."""
    formula: str = ""
    source: str = ""
    """Where the formula comes from: an arXiv number, or words."""

    @property
    def needs(self) -> frozenset[Need]:
        """What must be there for it."""
        needs: set[Need] = {view.model for view in self.views}
        needs |= {"corpus"} if any(view.draw is not None for view in self.views) else set()
        needs |= {"policy"} if self.completions else set()
        needs |= {"evidence"} if self.evidence else set()
        return frozenset(needs)

    @property
    def cost(self) -> str:
        """What a turn costs, in tokens that a model with a prefix cache reads; empty for nothing.

        ``turn`` are those of the message and the reply, ``ask`` those of the probe and the answers. What two
        terms of one model and context both read is read once.
        """
        parts = [
            f"{'turn' if view.context == 'full' else 'query + reply'} + ask"
            + (" of the reference" if view.model == "reference" else "")
            for view in self.views
            if view.draw is None
        ]
        draws = sum(view.draw is not None for view in self.views)
        parts += [f"{draws} * (reply + ask)"] * bool(draws)
        parts += [f"{self.completions} completions of a policy"] * bool(self.completions)
        return " + ".join(parts)
