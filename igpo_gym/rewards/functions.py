"""Reward functions: weighted sums of terms, and the presets that papers name."""

from __future__ import annotations

from dataclasses import dataclass

from igpo_gym.episode import Episode
from igpo_gym.errors import choose
from igpo_gym.rewards.terms import TERMS, RewardTerm


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
    def needs_belief(self) -> bool:
        """Whether a scorer must be at work."""
        return any(term.needs_belief for _, term in self.terms)

    def price(self, episode: Episode, turn: int) -> dict[str, float]:
        """The weighted terms of a turn (counted from 1) by name; the reward is their sum."""
        return {term.name: weight * term.price(episode, turn) for weight, term in self.terms}


PRESETS = {
    name: RewardFunction(name, tuple((weight, TERMS[term]) for term, weight in weights.items()))
    for name, weights in {
        # The reference code pays -2 where an answer is missing or its tags are unbalanced.
        "igpo": {"gain": 1.0, "f1": 1.0, "format": 2.0},
        "igpo-logprob": {"log-gain": 1.0, "f1": 1.0, "format": 2.0},
        "outcome-f1": {"f1": 1.0},
        "outcome-em": {"em": 1.0},
    }.items()
}


def resolve_reward(spec: str | RewardFunction) -> RewardFunction:
    """A reward function by the name of its preset, or the function itself. SpecError for an unknown name."""
    return choose(PRESETS, spec, "reward") if isinstance(spec, str) else spec
