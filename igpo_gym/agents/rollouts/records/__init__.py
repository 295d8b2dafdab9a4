"""Episodes as lines of JSON: written as they end, read back as they were.

Records have version 2, see docs/records.md; those of version 1 are read by
:mod:`igpo_gym.agents.rollouts.records.version1`. What a record holds beyond the fields that are known is kept
when it is read and written again.
"""

from __future__ import annotations

from igpo_gym.agents.rollouts.records.layout import DEEPEST, FORMAT, check_kept, from_record, to_record
from igpo_gym.agents.rollouts.records.reading import (
    MALFORMED,
    all_settings,
    doubled,
    read_recordings,
    read_rollouts,
    read_settings,
    recorded_split,
    set_of,
    settings_of,
    what_is_wrong,
)
from igpo_gym.agents.rollouts.records.writing import (
    RolloutFile,
    json_line,
    record_line,
    recorded,
    write_episodes,
)

__all__ = [
    "DEEPEST",
    "FORMAT",
    "MALFORMED",
    "RolloutFile",
    "all_settings",
    "check_kept",
    "doubled",
    "from_record",
    "json_line",
    "read_recordings",
    "read_rollouts",
    "read_settings",
    "record_line",
    "recorded",
    "recorded_split",
    "set_of",
    "settings_of",
    "to_record",
    "what_is_wrong",
    "write_episodes",
]
