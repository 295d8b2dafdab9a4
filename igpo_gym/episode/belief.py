"""How much a language model believes in the gold answer, and by which view."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from igpo_gym.values import quickly_made

Aliases = Literal["max", "first", "logsumexp"]


@quickly_made
@dataclass(frozen=True, slots=True)
class Belief:
    """A language model's belief in the gold answer, given a transcript (docs/METHOD.md, section 1).

    >>> belief = Belief((-0.5, -2.0))
    >>> round(belief.prob, 3), belief.reduced("first")
    (0.607, -0.5)
    """

    log_probs: tuple[float, ...]
    """For each alias, the mean log-probability of its tokens, in nats; in a view that asks for the ``tagged``
    span, the sum."""
    token_log_probs: tuple[tuple[float, ...], ...] = field(default=(), compare=False)
    """For each alias, the log-probability of each of its tokens, in nats; empty where the scorer does not
    tell."""
    joined: tuple[bool, ...] = field(default=(), compare=False)
    """For each alias, whether its first or last token holds a part of the probe, too, as the tokenizer joins
    them; empty where none does."""
    weights: str = field(default="", compare=False)
    """The version of the weights that gave it; empty where the scorer does not tell one."""
    unread: bool = field(default=False, compare=False)
    """Whether it is that of the state before, since the scorer could not read this one."""

    def reduced(self, aliases: Aliases = "max") -> float:
        """One log-probability for all aliases: that of the best, of the first, or of their sum.

        The sum of length-normalized probabilities can exceed 1, so the last can be above 0.
        """
        if aliases == "first":
            return self.log_probs[0]
        best = max(self.log_probs)
        if aliases == "max":
            return best
        return best + math.log(sum(math.exp(log_prob - best) for log_prob in self.log_probs))

    @property
    def log_prob(self) -> float:
        """The log-probability of the best alias, in nats per token."""
        return max(self.log_probs)

    @property
    def prob(self) -> float:
        """The length-normalized probability of the best alias, in [0, 1]."""
        return math.exp(self.log_prob)


@dataclass(frozen=True, slots=True)
class BeliefView:
    """Which belief is meant: who is asked, what about, and having read what. Equal views are one belief.

    Raises ValueError for a value that a field does not have.

    >>> BeliefView() == BELIEF, BeliefView("evidence").context
    (True, 'evidence')
    >>> BeliefView("thoughts")
    Traceback (most recent call last):
    ValueError: unknown context 'thoughts'; choose one of: full, evidence
    """

    context: Literal["full", "evidence"] = "full"
    """``full``: the whole transcript. ``evidence``: queries and documents alone, so that nothing that the
    agent writes beside its queries can raise the belief; a message without a valid query is left out."""
    span: Literal["answer", "tagged"] = "answer"
    """``answer``: the mean over the answer's tokens, behind the probe. ``tagged``: the sum over the tokens of
    ``<answer>answer</answer>``, where the agent writes next."""
    model: Literal["scorer", "reference"] = "scorer"
    draw: int | None = None
    """None: with the documents that the latest turn found. A number: with as many random ones of the corpus
    in their place; each number is another draw."""

    @property
    def rewritten(self) -> bool:
        """Whether it reads another transcript than the recorded one, which a protocol writes."""
        return self.context == "evidence" or self.draw is not None

    def __post_init__(self) -> None:
        for name, known in _VIEW_VALUES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; choose one of: {', '.join(known)}")


_VIEW_VALUES = {
    "context": ("full", "evidence"),
    "span": ("answer", "tagged"),
    "model": ("scorer", "reference"),
}
BELIEF = BeliefView()
"""The belief of docs/METHOD.md, section 1: that which ``Episode.beliefs`` holds."""
