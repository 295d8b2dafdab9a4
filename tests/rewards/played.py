"""Episodes by hand: actions, and what was measured after each."""

from __future__ import annotations

import math

from igpo_gym.episode import (
    Action,
    Answer,
    Belief,
    BeliefView,
    EndReason,
    Episode,
    Passage,
    Question,
    Segment,
    ToolResult,
    Turn,
)
from igpo_gym.rewards import RewardTerm
from igpo_gym.tools import search_call

QUESTION = Question("1", "Where?", ("Danzig", "the port of Danzig"))
SEGMENT = Segment("agent", "assistant", "m")
SEARCH = search_call("q")


def play(*actions: Action, beliefs: tuple[float, ...] = (), truncated: bool = False) -> Episode:
    """An episode of these actions; the second alias is half as likely as the first."""
    episode = Episode(QUESTION, (Segment("environment", "user", "Where?"),))
    for action in actions:
        answers = isinstance(action, Answer)
        segments = (SEGMENT,) if answers else (SEGMENT, SEGMENT)
        episode.append(Turn("m", action, segments), EndReason.ANSWERED if answers else None)
    episode.beliefs = [Belief((math.log(belief), math.log(belief / 2))) for belief in beliefs]
    if truncated:
        episode.end = EndReason.TURNS_EXHAUSTED
    return episode


def seen_by(episode: Episode, **views: tuple[BeliefView, list[tuple[float, ...]]]) -> Episode:
    """The episode with log-probabilities (of each state, of each alias) by other views."""
    tracks = dict(views.values())
    episode.views = [
        {view: Belief(states[turn]) for view, states in tracks.items()}
        for turn in range(len(next(iter(tracks.values()))))
    ]
    return episode


def found(*ids: str) -> Turn:
    """A search that found passages."""
    return Turn("m", SEARCH, results=(ToolResult("", (tuple(Passage(name, name, "") for name in ids),)),))


def prices(term: RewardTerm, episode: Episode) -> list[float]:
    """The unweighted values of all turns."""
    return [term.price(episode, turn) for turn in range(1, len(episode.turns) + 1)]
