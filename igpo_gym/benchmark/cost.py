"""What it costs to ask a scorer: tokens that it reads and time, from an empty cache."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What one of some equal pieces of work costs, such as a turn."""

    tokens: float
    """Tokens that the scorer reads; nan where it does not tell."""
    seconds: float
    """By the clock, on this machine."""

    @property
    def milliseconds(self) -> float:
        """The seconds in thousandths."""
        return 1000 * self.seconds


def cost_of(scorer: object, work: Callable[[], object], pieces: int) -> Cost:
    """What ``work``, which asks the scorer, costs for each of its ``pieces``.

    >>> from igpo_gym.scorers.interface import ScorerStats
    >>> class Counting:
    ...     stats = ScorerStats()
    ...     def read(self):
    ...         self.stats = self.stats.plus(tokens_forwarded=30)
    >>> scorer = Counting()
    >>> cost_of(scorer, scorer.read, 2).tokens
    15.0
    """
    if clear := getattr(scorer, "clear", None):
        clear()
    before, begun = _tokens_read(scorer), time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    return Cost((_tokens_read(scorer) - before) / pieces, seconds / pieces)


def _tokens_read(scorer: object) -> float:
    stats = getattr(scorer, "stats", None)
    return math.nan if stats is None else float(stats.tokens_forwarded)
