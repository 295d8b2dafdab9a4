"""What an environment does at its edges: how many messages there are, and what follows the last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from igpo_gym.errors import check_known
from igpo_gym.protocols import ReplyLimits

OnInvalid = Literal["continue", "end"]

OnLimit = Literal["truncate", "answer"]


def check_max_turns(number: object) -> int:
    """The number of messages that an agent may write. Raises ValueError where it is none of at least 1.

    >>> check_max_turns(4)
    4
    """
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ValueError(f"max_turns must be a whole number of at least 1, not {number!r}")
    return int(number)


@dataclass(frozen=True, slots=True)
class Rules:
    """What an environment does at its edges. Raises ValueError for a value that a rule does not have.

    >>> Rules(max_turns=4, on_limit="answer").last_turn
    5
    """

    max_turns: int = 6
    """How many messages the agent may write."""
    on_invalid: OnInvalid = "continue"
    """Whether a message that is no action ends the episode."""
    on_limit: OnLimit = "truncate"
    """What follows the last turn: the end, or one more turn in which only an answer is allowed."""
    limits: ReplyLimits = field(default_factory=ReplyLimits)
    """How much a reply shows."""

    def __post_init__(self) -> None:
        check_max_turns(self.max_turns)
        for name, known in (("on_invalid", OnInvalid), ("on_limit", OnLimit)):
            check_known(getattr(self, name), get_args(known), name)

    @property
    def answer_turns(self) -> int:
        """How many turns follow the last in which only an answer is allowed: one or none."""
        return int(self.on_limit == "answer")

    @property
    def last_turn(self) -> int:
        """The number of the turn after which every episode has ended."""
        return self.max_turns + self.answer_turns
