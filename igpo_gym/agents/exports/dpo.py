"""``dpo``: pairs of single turns that share their past, the better and the worse by their advantages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
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
    pasts: dict[tuple[Any, ...], list[tuple[SingleTurn, float]]] = defaultdict(list)
    turns = (turn for each in chosen for turn in single_turns(each, "dpo", tokens))
    told = shared_once(turns)
    joined = refuse_joined(told, "dpo")
    for turn, advantage in told:
        if turn.apart:
            pasts[turn.key].append((turn, advantage))
    rows, unlike = [], 0
    for said in pasts.values():
        best = max(said, key=lambda each: each[1])
        worst = min(said, key=lambda each: each[1])
        if best[1] - worst[1] > NEARLY_ZERO:
            unlike += not (best[0].same and worst[0].same)
            rows.append(
                {
                    **best[0].named,
                    "prompt": best[0].prompt,
                    "chosen": best[0].completion,
                    "rejected": worst[0].completion,
                    "margin": best[1] - worst[1],
                }
            )
    return Written(write_jsonl(rows, out, _NOTHING), unlike, joined)


DPO = Format(write, "pairs", tokenizer=True)
