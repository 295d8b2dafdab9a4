"""Ended episodes as the arrays that a trainer takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from igpo_gym.episode import Episode

if TYPE_CHECKING:
    from igpo_gym.lm.framing import Framing


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An episode token by token; all arrays have the shape [tokens].

    >>> row = TokenRow(np.array([7, 8, 9]), np.array([np.nan, -0.5, -0.1], np.float32), np.array([0, 1, 1]))
    >>> row.mask.tolist()
    [False, True, True]
    """

    ids: npt.NDArray[np.int64]
    """What the policy read and wrote, its own tokens as it sampled them."""
    log_probs: npt.NDArray[np.float32]
    """Of the agent's tokens as sampled, in nats; nan where not recorded, and on all other tokens."""
    turn: npt.NDArray[np.int64]
    """The number of the turn, from 1, on the agent's tokens; 0 on all others."""

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Which tokens the agent wrote, and a loss may be put on."""
        return self.turn > 0


def token_rows(episode: Episode, framing: Framing) -> TokenRow:
    """The episode's transcript in token ids, with what is known of each token.

    An agent's message that carries no ids of ``framing``'s vocabulary (of a scripted agent, say, or of
    another model) is tokenized, and its log-probabilities are nan.

    >>> from igpo_gym.episode import Answer, Question, Segment, Turn
    >>> from igpo_gym.lm.framing import Framing
    >>> from igpo_gym.lm.loading import load_model
    >>> episode = Episode(Question("q", "Where?", ("Danzig",)), (Segment("environment", "user", "Where?"),))
    >>> said = Segment("agent", "assistant", "<answer>Danzig</answer>")
    >>> episode.append(Turn(said.text, Answer("Danzig"), (said,)))
    >>> row = token_rows(episode, Framing(load_model("nano")[1]))
    >>> len(row.ids) == len(row.turn), sorted(set(row.turn.tolist()))
    (True, [0, 1])
    """
    ids: list[int] = []
    log_probs: list[float] = []
    turns: list[int] = []
    segments = episode.segments
    pieces = framing.pieces(segments)
    for segment, number, (seam, own) in zip(segments, episode.said_in, pieces, strict=True):
        known = segment.log_probs if number and framing.sampled(segment) is not None else None
        ids += (*seam, *own)
        log_probs += [np.nan] * len(seam) + list(known or [np.nan] * len(own))
        turns += [0] * len(seam) + [number] * len(own)
    return TokenRow(np.array(ids, np.int64), np.array(log_probs, np.float32), np.array(turns, np.int64))
