"""Records of version 1 as those of version 2. Version 1 knew searches alone, and counted segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igpo_gym.episode import EndReason

_RENAMED = frozenset(("segments", "prompt_length", "truncated", "turns", "beliefs", "views", "values"))


def episode_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record of version 1 under the names and in the shapes of version 2.

    Whether an episode that was cut short ran out of turns or out of room, version 1 did not say: it is read
    as out of turns. KeyError, TypeError or ValueError for anything else.
    """
    length, segments = record["prompt_length"], record["segments"]
    turns = record["turns"]
    added = segments[length:]
    answered = turns[-1]["action"]["kind"] == "answer"
    if len(added) != 2 * len(turns) - answered:
        raise ValueError(f"{len(turns)} turns, but {len(added)} segments after the prompt")
    end = EndReason.ANSWERED if answered else EndReason.TURNS_EXHAUSTED if record["truncated"] else None
    return {
        **{name: value for name, value in record.items() if name not in _RENAMED},
        "end": end,
        "prompt": segments[:length],
        "turns": [_turn(turn, added[2 * place : 2 * place + 2]) for place, turn in enumerate(turns)],
        "beliefs": [{"log_probs": log_probs} for log_probs in record["beliefs"]],
        "views": [
            {**view, "beliefs": [{"log_probs": log_probs} for log_probs in view["beliefs"]]}
            for view in record.get("views", [])
        ],
        "measured": [
            {f"value(completions={number})": value for number, value in values.items()}
            for values in record.get("values", [])
        ],
    }


def _turn(turn: Mapping[str, Any], segments: list[Any]) -> dict[str, Any]:
    action = turn["action"]
    results: list[dict[str, Any]] = []
    if action["kind"] == "search":
        queries = action["queries"]
        calls = [{"tool": "search", "arguments": {"query": query}} for query in queries]
        found = turn["results"] or [[] for _ in queries]
        failed = turn["search_failed"]
        results = [{"text": "", "passages": [] if failed else [each], "failed": failed} for each in found]
        action = {"kind": "tools", "calls": calls}
    return {
        "message": turn["message"],
        "action": action,
        "segments": segments,
        "results": results,
        "observation": turn["observation"],
        "cut": 0,
    }
