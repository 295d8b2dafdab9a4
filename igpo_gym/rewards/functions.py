"""Reward functions: weighted sums of terms, and the presets that papers name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from igpo_gym.episode import Episode
from igpo_gym.errors import SpecError, choose
from igpo_gym.rewards.terms import TERMS, Need, RewardTerm


@dataclass(frozen=True, slots=True)
class RewardFunction:
    """A sum of weighted terms. Raises ValueError when two terms share a name."""

    name: str
    terms: tuple[tuple[float, RewardTerm], ...]
    """Pairs of weight and term."""

    def __post_init__(self) -> None:
        names = [term.name for _, term in self.terms]
        if len(set(names)) != len(names):
            raise ValueError(f"reward {self.name!r} has two terms of one name: {', '.join(names)}")

    @property
    def needs(self) -> frozenset[Need]:
        """What its terms need."""
        return frozenset(need for _, term in self.terms for need in term.needs)

    def price(self, episode: Episode, turn: int) -> dict[str, float]:
        """The weighted terms of a turn (counted from 1) by name; the reward is their sum."""
        # Adding nothing turns -0.0, which looks like a penalty, into 0.0.
        return {term.name: weight * term.price(episode, turn) + 0.0 for weight, term in self.terms}


PRESETS = {
    name: RewardFunction(name, tuple((weight, TERMS[term]) for term, weight in weights.items()))
    for name, weights in {
        # The reference code pays -2 where an answer is missing or its tags are unbalanced.
        "igpo": {"gain": 1.0, "f1": 1.0, "format-penalty": -2.0},
        "igpo-logprob": {"log-gain": 1.0, "f1": 1.0, "format-penalty": -2.0},
        "watermark": {"new-best": 1.0, "f1": 1.0, "format-penalty": -2.0},
        "outcome-f1": {"f1": 1.0},
        "outcome-em": {"em": 1.0},
    }.items()
}
"""The reward functions that papers name, outcome included."""


def resolve_reward(spec: str | RewardFunction) -> RewardFunction:
    """A reward function from a spec, or the function itself.

    A spec is the name of a preset or of a term, or a weighted sum of such names; plus and minus stand between
    spaces. A term that occurs twice counts with the sum of its weights. Raises SpecError for anything else.

    >>> [(term.name, weight) for weight, term in resolve_reward("0.5*gain + f1 - 0.01*search-cost").terms]
    [('gain', 0.5), ('f1', 1.0), ('search-cost', -0.01)]
    """
    if isinstance(spec, RewardFunction):
        return spec
    if not isinstance(spec, str):
        raise SpecError(f"a reward is a text or a RewardFunction, not {spec!r:.60}")
    if spec in PRESETS:
        return PRESETS[spec]
    weights: dict[str, float] = {}
    for sign, summand in _summands(spec):
        factor, name = _summand(summand)
        for weight, term in _terms(name):
            weights[term.name] = weights.get(term.name, 0.0) + sign * factor * weight
    return RewardFunction(spec, tuple((weight, TERMS[name]) for name, weight in weights.items()))


def _summands(spec: str) -> Iterator[tuple[float, str]]:
    parts = re.split(r"\s+([+-])\s+", f" + {spec}")[1:]
    for sign, summand in zip(parts[::2], parts[1::2], strict=True):
        yield (-1.0 if sign == "-" else 1.0), summand.strip()


def _summand(text: str) -> tuple[float, str]:
    factor, times, name = text.rpartition("*")
    try:
        weight = float(factor) if times else 1.0
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise SpecError(
            f"{factor.strip()!r} is no weight in the reward {text!r}; write it like 0.1*search-cost"
        )
    return weight, name.strip()


def _terms(name: str) -> tuple[tuple[float, RewardTerm], ...]:
    known = {**PRESETS, **{term: RewardFunction(term, ((1.0, TERMS[term]),)) for term in TERMS}}
    return choose(known, name, "reward").terms
