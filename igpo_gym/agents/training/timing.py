"""Where the time of a training run goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from igpo_gym.episode import Belief, Episode, Message
from igpo_gym.lm.policy import Policy, has_room
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest


class Stopwatch:
    """Adds up the time that is spent on things, in seconds.

    >>> watch = Stopwatch()
    >>> with watch("scoring"):
    ...     pass
    >>> watch.seconds["scoring"] >= 0
    True
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was spent."""
        self.seconds = dict.fromkeys(("sampling", "scoring", "update"), 0.0)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Count the time inside the block as spent on ``what``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class TimedScorer:
    """A scorer whose time is counted as "scoring"."""

    scorer: AnswerScorer
    watch: Stopwatch

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """The scorer's beliefs."""
        with self.watch("scoring"):
            return self.scorer.score(requests)


@dataclass(frozen=True, slots=True)
class TimedPolicy:
    """A policy whose time is counted as "sampling"."""

    policy: Policy
    watch: Stopwatch

    def act(self, episodes: Sequence[Episode]) -> Sequence[str | Message]:
        """The policy's messages."""
        with self.watch("sampling"):
            return self.policy.act(episodes)

    def has_room(self, episode: Episode) -> bool:
        """Whether the policy can write to the episode."""
        return has_room(self.policy, episode)
