"""``kto``: single turns, each good or bad by the sign of its advantage."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from igpo_gym.agents.exports.rows import (
    Format,
    Written,
    refuse_joined,
    shared_once,
    single_turns,
    write_jsonl,
)
from igpo_gym.agents.exports.selection import Chosen
from igpo_gym.agents.exports.tokens import Tokens
from igpo_gym.agents.training.estimators import NEARLY_ZERO

_NOTHING = (
    "no chosen turn has an advantage other than 0: advantages need several attempts at a question "
    "(igpo-gym rollout --group-size) that were paid unlike"
)


def write(chosen: Iterable[Chosen], out: Path, tokens: Tokens | None) -> Written:
    """Write ``prompt``, ``completion``, ``label`` and ``advantage``; a turn of advantage 0 is no row."""
    turns = (turn for each in chosen for turn in single_turns(each, "kto", tokens))
    said = [each for each in shared_once(turns) if abs(each[1]) > NEARLY_ZERO]
    joined = refuse_joined(said, "kto")
    told = [each for each in said if each[0].apart]
    rows = (
        {
            **turn.named,
            "prompt": turn.prompt,
            "completion": turn.completion,
            "label": advantage > 0,
            "advantage": advantage,
        }
        for turn, advantage in told
    )
    return Written(write_jsonl(rows, out, _NOTHING), sum(not turn.same for turn, _ in told), joined)


KTO = Format(write, "turns", tokenizer=True)
