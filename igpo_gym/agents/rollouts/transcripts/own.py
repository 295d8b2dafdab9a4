"""Records of this package, of version 1 and 2: they are read as they are, and written in version 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igpo_gym.agents.rollouts.records import MALFORMED, from_record
from igpo_gym.agents.rollouts.transcripts.interface import Layout
from igpo_gym.data.rows import Row
from igpo_gym.episode import Episode


def fits(fields: Mapping[str, Any]) -> bool:
    """Whether a record is one that this package wrote."""
    return "format" in fields and isinstance(fields.get("turns"), list) and "question" in fields


def read(row: Row) -> list[Episode]:
    """The episode of a record."""
    try:
        return [from_record(row.fields)]
    except MALFORMED as problem:
        raise ValueError(f"not a recorded episode ({problem!r})") from None


LAYOUT = Layout("igpo-gym", "a record with format, question and turns", fits, read)
