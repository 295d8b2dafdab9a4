"""Beliefs written into episodes, all of an episode by one version of the scorer's weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from igpo_gym.episode import BeliefView, Episode
from igpo_gym.errors import ScoringError
from igpo_gym.rewards.instruments import Instruments
from igpo_gym.rewards.interface import State

RENEWALS = 4
"""How often an episode's beliefs are asked anew while the scorer's weights change amid it."""


def add_beliefs(instruments: Instruments, states: Sequence[State], views: Sequence[BeliefView]) -> list[bool]:
    """Add to the episodes their beliefs in these states, asked in one call to each model.

    The states of an episode are in their order. Returns for each state whether the transcript could be read;
    where not, its belief is the one before.

    Both beliefs of a gain are of one version of the weights: where these have changed since an earlier state
    was asked about, all beliefs of that episode are asked anew, and its record says ``mixed_weights``. What
    its earlier turns were paid stays.

    Raises ScoringError where the weights change again and again, and as :meth:`Instruments.beliefs` does.
    """
    found = instruments.beliefs(states, views)
    readable = [episode.believe(beliefs) for (episode, _), beliefs in zip(states, found, strict=True)]
    if any(belief and belief.weights for beliefs in found for belief in beliefs.values()):
        _renew(instruments, [episode for episode, _ in states], views)
    return readable


def _renew(instruments: Instruments, episodes: Sequence[Episode], views: Sequence[BeliefView]) -> None:
    """Ask anew for all beliefs of the episodes that have them from several versions of the weights."""
    for _ in range(RENEWALS):
        mixed = _mixed(episodes)
        if not mixed:
            return
        counts = [max(len(episode.beliefs), len(episode.views)) for episode in mixed]
        states = [
            (episode, turn) for episode, count in zip(mixed, counts, strict=True) for turn in range(count)
        ]
        found = iter(instruments.beliefs(states, views))
        for episode, count in zip(mixed, counts, strict=True):
            episode.believe_anew(list(islice(found, count)))
    if _mixed(episodes):
        raise ScoringError("the scorer's weights change at every request; push them less often")


def _mixed(episodes: Sequence[Episode]) -> list[Episode]:
    """Those of the episodes, each once, that have beliefs of several versions."""
    return list({id(episode): episode for episode in episodes if episode.mixed}.values())
