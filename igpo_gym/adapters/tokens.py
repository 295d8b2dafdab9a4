"""What adapters that train on tokens share: from sampled ids to messages, and from episodes to rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from igpo_gym.agents.rollouts.tokens import TokenRow
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import EndReason, Episode


def end_unfinished(engine: Engine, episodes: Sequence[Episode]) -> None:
    """End the episodes in whose rows there is no room for another message; one without a turn is aborted."""
    for episode in episodes:
        if not episode.done:
            engine.end(episode, EndReason.CONTEXT_EXHAUSTED if episode.turns else EndReason.ABORTED)


def turn_rewards(episode: Episode) -> list[float]:
    """The reward of each turn."""
    return [sum(terms.values()) for terms in episode.rewards]


def reward_row(row: TokenRow, rewards: Sequence[float], span: slice) -> npt.NDArray[np.float32]:
    """The reward of each turn on the last token of ``span`` that the agent wrote in it: [tokens of span].

    A turn without tokens there (an empty message, or one that a limit of length cut off) gives its reward to
    the turn before it, or where there is none, to the first turn that has tokens, or to the last token of
    all: no reward is lost.
    """
    turn = row.turn[span]
    first = min(turn[turn > 0], default=0)
    placed = np.zeros(len(turn), dtype=np.float32)
    for number, reward in enumerate(rewards, 1):
        places = np.flatnonzero((turn > 0) & (turn <= max(number, first)))
        placed[places[-1] if len(places) else -1] += reward
    return placed
