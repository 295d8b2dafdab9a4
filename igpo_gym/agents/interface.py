"""The contract of a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from igpo_gym.episode import Episode, Message


class Policy(Protocol):
    """Writes the agent's next message for each of many running episodes at once."""

    def act(self, episodes: Sequence[Episode]) -> list[str] | list[Message]:
        """One message per episode, in order. No episode in the list has ended.

        What an episode gets does not depend on which others are in the list.
        """
        ...
