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
    turns = shared_once(turn for each in chosen for turn in single_turns(each, "kto", tokens))
    telling = [turn for turn in turns if abs(turn.advantage) > NEARLY_ZERO]
    joined = refuse_joined(telling, "kto")
    apart = [turn for turn in telling if turn.apart]
    rows = (
        {
            **turn.named,
            "prompt": turn.prompt,
            "completion": turn.completion,
            "label": turn.advantage > 0,
            "advantage": turn.advantage,
        }
        for turn in apart
    )
    return Written(write_jsonl(rows, out, _NOTHING), sum(not turn.same for turn in apart), joined)


KTO = Format(write, "turns", tokenizer=True)
