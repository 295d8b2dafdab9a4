"""Records of this package, of version 1 and 2: they are read as they are, and written in version 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igpo_gym.agents.rollouts.records import MALFORMED, from_record, settings_of, what_is_wrong
from igpo_gym.agents.rollouts.transcripts.interface import TranscriptLayout
from igpo_gym.data.rows import Row
from igpo_gym.episode import Episode

SETTINGS = "recorded_settings"
"""The name in :attr:`igpo_gym.episode.Episode.extra` of the settings that a record of this package holds."""


def fits(fields: Mapping[str, Any]) -> bool:
    """Whether a record is one that this package wrote."""
    return "format" in fields and isinstance(fields.get("turns"), list) and "question" in fields


def read(row: Row) -> list[Episode]:
    """The episode of a record; what it was made with stands in ``extra``."""
    try:
        episode = from_record(row.fields)
        if "settings" in row.fields:
            episode.extra[SETTINGS] = settings_of(row.fields)
    except MALFORMED as problem:
        raise ValueError(f"not a recorded episode ({what_is_wrong(problem)})") from None
    return [episode]


LAYOUT = TranscriptLayout("igpo-gym", "a record with format, question and turns", fits, read)
