"""``dpo``: pairs of single turns that share their past, the better and the worse by their advantages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import Any

from igpo_gym.agents.exports.rows import (
    Format,
    SingleTurn,
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
    "no two chosen turns share their past and differ in their advantages: dpo needs several attempts at a "
    "question (igpo-gym rollout --group-size), or branches"
)


def write(chosen: Iterable[Chosen], out: Path, tokens: Tokens | None) -> Written:
    """Write ``prompt``, ``chosen``, ``rejected`` and ``margin``: of each past the best and the worst."""
    pasts: dict[tuple[Any, ...], list[SingleTurn]] = defaultdict(list)
    turns = shared_once(turn for each in chosen for turn in single_turns(each, "dpo", tokens))
    joined = refuse_joined(turns, "dpo")
    for turn in turns:
        if turn.apart:
            pasts[turn.key].append(turn)
    rows, unlike = [], 0
    for alike in pasts.values():
        best = max(alike, key=attrgetter("advantage"))
        worst = min(alike, key=attrgetter("advantage"))
        margin = best.advantage - worst.advantage
        if margin > NEARLY_ZERO:
            unlike += not (best.same and worst.same)
            rows.append(
                {
                    **best.named,
                    "prompt": best.prompt,
                    "chosen": best.completion,
                    "rejected": worst.completion,
                    "margin": margin,
                }
            )
    return Written(write_jsonl(rows, out, _NOTHING), unlike, joined)


DPO = Format(write, "pairs", tokenizer=True)
