"""The contract of a policy, and how language models sample."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from igpo_gym.episode import Episode, Message
from igpo_gym.errors import SpecError


class Policy(Protocol):
    """Writes the agent's next message for each of many running episodes at once.

    >>> class Silent:
    ...     def act(self, episodes):
    ...         return ["" for _ in episodes]
    >>> has_room(Silent(), None)
    True
    """

    def act(self, episodes: Sequence[Episode]) -> Sequence[str | Message]:
        """One message per episode, in order. No episode in the list has ended.

        What an episode gets does not depend on which others are in the list. A policy whose model reads no
        longer transcripts than some limit says so with a method ``has_room(episode) -> bool``. What it tells
        about itself with a method ``facts() -> dict[str, str | int]`` stands in the card of an evaluation.
        """
        ...


def has_room(policy: Policy, episode: Episode) -> bool:
    """Whether the policy can write another message; one that has a limit has a method of this name."""
    check = getattr(policy, "has_room", None)
    return True if check is None else bool(check(episode))


def messages_of(policy: Policy, episodes: Sequence[Episode]) -> list[str | Message]:
    """The policy's messages, one for each episode. Raises TypeError, naming the policy, for anything else.

    >>> class One:
    ...     def act(self, episodes):
    ...         return [""]
    >>> messages_of(One(), [None, None])
    Traceback (most recent call last):
    TypeError: the policy One must return a message for each of 2 episodes, and returned 1
    """
    said = policy.act(episodes) if episodes else []
    messages = list(said) if isinstance(said, Iterable) and not isinstance(said, str) else None
    if messages is None or len(messages) != len(episodes):
        raise TypeError(
            f"the policy {type(policy).__name__} must return a message for each of {len(episodes)} episodes, "
            f"and returned {type(said).__name__ if messages is None else len(messages)}"
        )
    return messages


def forget_prefixes(*models: object) -> None:
    """Empty the prefix caches of those policies and scorers that read with a model here.

    What they read next is rounded as in a run that begins with it.

    >>> forget_prefixes(None, "a scorer of another kind")
    """
    for model in models:
        if clear := getattr(getattr(model, "reader", None), "clear", None):
            clear()


LEAST_TEMPERATURE = 1e-6
"""Logits that are divided by less may leave what a float can hold."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a language model draws the tokens of a message. Raises SpecError for values without meaning.

    >>> Sampling(temperature=0).max_tokens
    256
    >>> Sampling(top_p=2)
    Traceback (most recent call last):
    igpo_gym.errors.SpecError: temperature must be 0 or at least 1e-06, top_k at least 0, top_p above 0 ...
    """

    temperature: float = 1.0
    """Divides the logits; 0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the fewest likeliest tokens that have this probability together, in (0, 1]."""
    top_k: int = 0
    """Draw from so many likeliest tokens; 0 for all."""
    max_tokens: int = 256
    """A message is cut off after so many."""
    seed: int = 0
    """An episode's messages depend on this, on its question, and on the number of its attempt."""

    def __post_init__(self) -> None:
        if not (
            (self.temperature == 0 or LEAST_TEMPERATURE <= self.temperature < math.inf)
            and 0 < self.top_p <= 1
            and self.top_k >= 0
            and self.max_tokens >= 1
        ):
            raise SpecError(
                f"temperature must be 0 or at least {LEAST_TEMPERATURE}, top_k at least 0, top_p above 0 and "
                f"at most 1, and max_tokens at least 1, not {self}"
            )

    def turn_seed(self, episode: Episode) -> int:
        """A seed of 63 bits for the next turn of the episode, which no other turn or episode has."""
        key = f"{self.seed}/{episode.question.id}/{episode.attempt}/{len(episode.turns)}"
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1
