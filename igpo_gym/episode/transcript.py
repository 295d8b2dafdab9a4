"""What a transcript is made of: segments, each by one author, and the messages that a model sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from igpo_gym.values import quickly_made

Author = Literal["environment", "agent"]
Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """An agent's message as a language model sampled it. ValueError for unlike numbers of ids and log-probs.

    The text may end within the last token, where that spells more than the end of the action.

    >>> Message("<answer>Danzig</answer>", ids=(5, 9, 2), log_probs=(-0.1, -0.7, -0.2)).cut_off
    False
    >>> Message("a", ids=(5, 9), log_probs=(-0.1,))
    Traceback (most recent call last):
    ValueError: a message of 2 ids has 1 log-probabilities
    """

    text: str
    ids: tuple[int, ...]
    """The token ids, the one with which the model ended the message included, if it did."""
    log_probs: tuple[float, ...]
    """For each id, its log-probability under the model itself (temperature 1, no id excluded), in nats."""
    vocabulary: str = ""
    """What the ids mean: the :attr:`igpo_gym.lm.framing.Framing.vocabulary` of the policy. A reader of
    another vocabulary takes the text; where it is not said (empty), a reader takes the ids for its own."""
    tokens: tuple[str, ...] = ()
    """For each id, its text, for people to read; empty where the policy does not tell."""
    cut_off: bool = False
    """Whether a limit of length ended it. Set by the policy; the environment then says so to the agent."""
    weights: str = ""
    """The version of the weights that sampled it, in the words of whoever trains them; empty if not told."""

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.log_probs):
            raise ValueError(f"a message of {len(self.ids)} ids has {len(self.log_probs)} log-probabilities")
        if self.tokens and len(self.ids) != len(self.tokens):
            raise ValueError(f"a message of {len(self.ids)} ids has {len(self.tokens)} tokens' texts")


@quickly_made
@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a transcript, written by one author. The unit of tokenization.

    >>> reply = Segment("environment", "user", "Doc 1(Title: Danzig) A port.")
    >>> reply.author, reply.role, reply.ids
    ('environment', 'user', None)
    """

    author: Author
    role: Role
    """The chat role whose message this text belongs to; consecutive segments of a role are one message."""
    text: str
    ids: tuple[int, ...] | None = None
    """The token ids that a policy sampled, where known: scorers that share its vocabulary use these."""
    log_probs: tuple[float, ...] | None = None
    """For each of ``ids``, the log-probability that :class:`Message` told, in nats."""
    vocabulary: str = ""
    """What the ids mean, see :class:`Message`."""
    tokens: tuple[str, ...] = ()
    """For each of ``ids``, its text; empty where unknown."""
    weights: str = ""
    """The version of the weights that sampled them, see :class:`Message`."""
