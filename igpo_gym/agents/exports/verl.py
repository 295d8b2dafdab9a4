"""``verl``: a parquet file of messages for verl's multi-turn SFT data set (``MultiTurnSFTDataset``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from igpo_gym.agents.exports.rows import (
    Format,
    Written,
    named,
    refuse_left_out,
    refuse_shared_messages,
)
from igpo_gym.agents.exports.selection import Chosen
from igpo_gym.agents.exports.tokens import Tokens
from igpo_gym.data.writing import write_parquet

_INSTEAD = "take --format sft with --tokenizer"


def write(chosen: Iterable[Chosen], out: Path, tokens: Tokens | None) -> Written:
    """Write ``messages``; that data set puts a loss on every message of the assistant."""
    rows = []
    for each in chosen:
        refuse_shared_messages(each, "verl's messages", _INSTEAD)
        refuse_left_out(each, "verl's data set", _INSTEAD)
        rows.append({**named(each), "messages": each.episode.messages()})
    return Written(write_parquet(rows, out))


VERL = Format(write, "episodes")
