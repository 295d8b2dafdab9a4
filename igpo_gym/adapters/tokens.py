"""What adapters that train on tokens share: from sampled ids to messages, and from episodes to rows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from igpo_gym.agents.rollouts.tokens import TokenRow
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode, Message
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import TextProtocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def sampled_message(
    tokenizer: PreTrainedTokenizerBase,
    framing: Framing,
    protocol: TextProtocol,
    ids: Sequence[int],
    log_probs: Sequence[float] | None = None,
) -> Message:
    """The message in what an inference engine sampled.

    It goes up to the token that ended the turn, and no further than the first tag that closes an action:
    engines that were told to stop there may sample a little more, and others do not stop at all.
    ``log_probs`` are as the engine tells them, in nats; nan where it tells none.
    """
    ends = framing.end_ids
    kept = list(takewhile(lambda number: number not in ends, ids))

    def text(length: int) -> str:
        spelled = tokenizer.decode(
            kept[:length], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(spelled)

    def closed(length: int) -> bool:
        return any(stop in text(length) for stop in protocol.stops)

    length = min(bisect_left(range(len(kept) + 1), True, key=closed), len(kept))
    spelled = text(length)
    stops = [spelled.index(stop) + len(stop) for stop in protocol.stops if stop in spelled]
    known = [np.nan] * len(kept) if log_probs is None else log_probs
    return Message(
        text=spelled[: min(stops, default=len(spelled))],
        ids=tuple(kept[:length]),
        log_probs=tuple(float(value) for value in known[:length]),
        vocabulary=framing.vocabulary,
    )


def end_unfinished(engine: Engine, episodes: Sequence[Episode]) -> None:
    """End the episodes in whose rows there is no room for another message.

    Their last turn is an empty message, with which they run out of turns: the environment prices it so.
    """
    for episode in episodes:
        if not episode.done:
            last = replace(engine, max_turns=len(episode.turns) + 1)
            last.settle(last.play([episode], [""]))


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
