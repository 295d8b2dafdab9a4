"""What a set of episodes shows: scores, beliefs and gains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from igpo_gym.data.metrics import exact_match, f1
from igpo_gym.episode import Episode, Search
from igpo_gym.rewards.terms import INFORMATION_GAIN


@dataclass(slots=True)
class Summary:
    """Lists of per-episode and per-turn values, for whatever statistic is wanted of them."""

    exact_matches: list[float] = field(default_factory=list)
    f1s: list[float] = field(default_factory=list)
    searches: list[int] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    beliefs: dict[int, list[float]] = field(default_factory=dict)
    """By turn (0: the prompt), the beliefs of all episodes that got so far."""
    gains: dict[str, list[float]] = field(default_factory=dict)
    """By kind of search: "new evidence" found a gold passage that the episode had not seen, "no new evidence"
    did not; "unknown" where the question has no gold evidence."""


def summarise(episodes: Iterable[Episode]) -> Summary:
    """Collect the values of ended episodes."""
    summary = Summary()
    for episode in episodes:
        answers = episode.question.answers
        summary.exact_matches.append(exact_match(episode.prediction, answers))
        summary.f1s.append(f1(episode.prediction, answers))
        summary.searches.append(episode.searches)
        summary.returns.append(sum(sum(terms.values()) for terms in episode.rewards))
        for turn, belief in enumerate(episode.beliefs):
            summary.beliefs.setdefault(turn, []).append(belief.prob)
        if episode.beliefs:
            for kind, gain in _gains(episode):
                summary.gains.setdefault(kind, []).append(gain)
    return summary


def _gains(episode: Episode) -> Iterable[tuple[str, float]]:
    missing = set(episode.question.evidence)
    for number, turn in enumerate(episode.turns, 1):
        if not isinstance(turn.action, Search) or turn.search_failed:
            continue
        found = missing & {passage.id for passage in turn.passages}
        missing -= found
        known = bool(episode.question.evidence)
        kind = ("new evidence" if found else "no new evidence") if known else "unknown"
        yield kind, INFORMATION_GAIN.price(episode, number)


def interval(values: list[float] | list[int]) -> tuple[float, float]:
    """The mean, and the half-width of its 95% interval by the normal approximation (nan for one value)."""
    array = np.asarray(values, dtype=float)
    spread = float(array.std(ddof=1)) if len(array) > 1 else float("nan")
    return float(array.mean()), 1.96 * spread / len(array) ** 0.5
