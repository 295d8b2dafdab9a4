"""Running the calls of a step: one call of each tool, tried again and apart where its backend fails."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from igpo_gym.episode import Episode, Passage, ToolCall, ToolResult
from igpo_gym.errors import SearchError
from igpo_gym.tools.interface import Tool

logger = logging.getLogger(__name__)

RETRY_DELAYS = (0.2, 1.0)
"""Seconds to wait before each new try of a call that failed."""
SAMPLED_CALLS = 5
"""How many single calls tell whether a backend is down, after both halves of a batch have failed."""

FAILED = ToolResult(failed=True)

Calls = Sequence[tuple[Episode, ToolCall]]


def run_calls(
    tools: Mapping[str, Tool], calls: Calls, delays: Sequence[float] = RETRY_DELAYS
) -> list[ToolResult]:
    """The result of each call, in order; each tool is called once with all of its calls.

    A backend that fails (SearchError, OSError) is tried again after each of ``delays``. Then the calls are
    asked apart, so that one that a backend chokes on costs no other its result: see :func:`_by_halves`.
    """
    if len(tools) == 1:
        return _tried(tools[calls[0][1].tool], calls, delays) if calls else []
    results: list[ToolResult] = [FAILED] * len(calls)
    places: dict[str, list[int]] = {}
    for place, (_, call) in enumerate(calls):
        places.setdefault(call.tool, []).append(place)
    for name, own in places.items():
        found = _tried(tools[name], [calls[place] for place in own], delays)
        for place, result in zip(own, found, strict=True):
            results[place] = result
    return results


def _tried(tool: Tool, calls: Calls, delays: Sequence[float]) -> list[ToolResult]:
    for delay in (*delays, None):
        try:
            return _run(tool, calls)
        except (SearchError, OSError) as failure:
            if delay is None:
                # A backend's words may repeat the calls, and no log holds the questions of a protected set.
                protected = any(episode.question.protected for episode, _ in calls)
                told = type(failure).__name__ if protected else failure
                logger.warning("%s is unavailable: %s", tool.spec.name, told)
                return _by_halves(tool, calls)
            time.sleep(delay)
    raise AssertionError("unreachable: the last try has no delay")


def _by_halves(tool: Tool, calls: Calls) -> list[ToolResult]:
    """The results of calls that failed together: asked in halves, halves of halves, and so on.

    At most ``8 log2(n) + 8`` calls of the tool are made; what is not resolved by then has failed. Where both
    first halves fail, single calls drawn at random come next: if all of them fail too, the backend is down.
    """
    found: dict[int, ToolResult] = {}
    budget = 8 * math.ceil(math.log2(len(calls))) + 8 if len(calls) > 1 else 0

    def resolve(places: list[int]) -> bool:
        nonlocal budget
        budget -= 1
        try:
            found.update(zip(places, _run(tool, [calls[place] for place in places]), strict=True))
        except (SearchError, OSError):
            return False
        return True

    failing = [list(range(len(calls)))]
    while budget > 0 and failing:
        halves = [half for places in failing for half in _halved(places)]
        failing = []
        for half in halves:
            if budget <= 0 or not resolve(half):
                failing.append(half)
        if not found and len(calls) > 2:
            drawn = Random(len(calls)).sample(range(len(calls)), min(SAMPLED_CALLS, len(calls)))
            if not sum(resolve([place]) for place in drawn if budget > 0):
                break
        failing = [left for places in failing if len(left := [p for p in places if p not in found]) > 1]
    return [found.get(place, FAILED) for place in range(len(calls))]


def _halved(places: list[int]) -> list[list[int]]:
    middle = len(places) // 2
    return [half for half in (places[:middle], places[middle:]) if half]


def _run(tool: Tool, calls: Calls) -> list[ToolResult]:
    """The tool's results. Raises TypeError, naming the tool, where they are not one result for each call."""
    results = tool.run(calls)
    if not isinstance(results, (list, tuple)) or len(results) != len(calls):
        shown = f"{len(results)}" if isinstance(results, list | tuple) else f"{results!r:.60}"
        raise TypeError(f"the tool {tool.spec.name} must return {len(calls)} results, and returned {shown}")
    if not _plain(results):
        if any(type(result) is not ToolResult for result in results):
            raise TypeError(f"the tool {tool.spec.name} must return ToolResult objects, not {results!r:.60}")
        for result in results:
            _check(tool, result)
    return list(results)


def _plain(results: Sequence[ToolResult]) -> bool:
    """Whether all is of the very types that it should be, as most results are: in one pass, without calls."""
    for result in results:
        if type(result) is not ToolResult:
            return False
        lists = result.passages
        if type(lists) is not tuple or type(result.text) is not str or type(result.failed) is not bool:
            return False
        for found in lists:
            if type(found) is not tuple:
                return False
            for each in found:
                if type(each) is not Passage:
                    return False
                if not (type(each.id) is type(each.title) is type(each.text) is str):
                    return False
                if type(each.score) is not float:
                    return False
    return True


def _check(tool: Tool, result: ToolResult) -> None:
    """Raise TypeError, naming the tool, for a result that no reply and no record could hold."""
    if not isinstance(result.text, str) or not isinstance(result.failed, bool):
        raise TypeError(
            f"the tool {tool.spec.name} returned a text or failed of a wrong type: {result!r:.90}"
        )
    lists = result.passages
    if not isinstance(lists, tuple) or not all(isinstance(each, tuple) for each in lists):
        raise TypeError(
            f"the tool {tool.spec.name} must return tuples of tuples of passages, not {lists!r:.60}"
        )
    for passages in lists:
        for each in passages:
            if not isinstance(each, Passage):
                raise TypeError(f"the tool {tool.spec.name} must return Passage objects, not {each!r:.60}")
            texts = isinstance(each.id, str) and isinstance(each.title, str) and isinstance(each.text, str)
            if not texts or not _is_number(each.score):
                raise TypeError(
                    f"the tool {tool.spec.name} returned a passage with fields of wrong types: {each!r:.90}"
                )


def _is_number(score: Any) -> bool:
    """Whether a record can hold the score, in which numbers of other libraries are Python's."""
    if isinstance(score, str | bool):
        return False
    try:
        float(score)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
