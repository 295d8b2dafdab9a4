from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.episode import Episode, Passage, Question, ToolCall, ToolResult
from igpo_gym.errors import SearchError
from igpo_gym.tools import ToolSpec
from igpo_gym.tools.running import run_calls
from igpo_gym.tools.searching import SEARCH

EPISODE = Episode(Question("1", "?", ("a",)), ())


class Choking:
    """Fails whenever one of some queries is among those of a call."""

    def __init__(self, poison: set[int]) -> None:
        self.poison, self.calls = poison, 0

    @property
    def spec(self) -> ToolSpec:
        return SEARCH

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        self.calls += 1
        if any(call.arguments["query"] in self.poison for _, call in calls):
            raise SearchError("syntax error")
        return [ToolResult(str(call.arguments["query"])) for _, call in calls]


def run(tool: Choking, count: int) -> list[ToolResult]:
    return run_calls(
        {"search": tool}, [(EPISODE, ToolCall("search", {"query": n})) for n in range(count)], ()
    )


@given(st.integers(1, 200), st.data())
def test_the_calls_are_bounded_and_few_bad_ones_cost_no_other(count: int, data: st.DataObject) -> None:
    poison = data.draw(st.sets(st.integers(0, count - 1), max_size=min(3, count)))
    tool = Choking(poison)
    results = run(tool, count)
    assert tool.calls <= 1 + 8 * math.ceil(math.log2(max(count, 2))) + 8
    assert [result.text for result in results if not result.failed] == [
        str(number) for number in range(count) if not results[number].failed
    ]
    # A bad call in each half can hide among single ones only where the drawn ones all fail.
    if len(poison) <= 1 or count > 20:
        assert {number for number, result in enumerate(results) if result.failed} == poison


def test_a_backend_that_is_down_is_found_out_early() -> None:
    tool = Choking(set(range(1000)))
    assert all(result.failed for result in run(tool, 1000))
    assert tool.calls == 1 + 2 + 5


def test_each_tool_is_called_once() -> None:
    first, second = Choking(set()), Choking(set())
    names = ["a", "b", "a", "b"]
    calls = [(EPISODE, ToolCall(name, {"query": place})) for place, name in enumerate(names)]
    results = run_calls({"a": first, "b": second}, calls)
    assert [result.text for result in results] == ["0", "1", "2", "3"]
    assert (first.calls, second.calls) == (1, 1)


class Fixed:
    """Gives one result for each call."""

    spec = SEARCH

    def __init__(self, result: Any) -> None:
        self.result = result

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        return [self.result] * len(calls)


WRONG: list[Any] = [
    (None,),
    (5,),
    ("", (), "no"),
    ("", None),
    ("", [[Passage("1", "a", "b")]]),
    ("", (Passage("1", "a", "b"),)),
    ("", (("a",),)),
    ("", ((Passage(1, "a", "b"),),)),  # type: ignore[arg-type]
    ("", ((Passage("1", "a", None),),)),  # type: ignore[arg-type]
    ("", ((Passage("1", "a", "b", score=None),),)),  # type: ignore[arg-type]
    ("", ((Passage("1", "a", "b", score="0.5"),),)),  # type: ignore[arg-type]
    ("", ((Passage("1", "a", "b", score=10**400),),)),
]


@pytest.mark.parametrize("fields", WRONG, ids=repr)
def test_a_result_that_no_reply_could_hold_is_told_with_the_tools_name(fields: Any) -> None:
    with pytest.raises(TypeError, match=r"the tool search (must return|returned)"):
        run_calls({"search": Fixed(ToolResult(*fields))}, [(EPISODE, ToolCall("search", {"query": "a"}))], ())


@pytest.mark.parametrize("protected", [False, True])
def test_the_log_does_not_hold_a_call_of_a_protected_question(
    protected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Repeats(Choking):
        def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
            raise SearchError(f"nothing for {calls[0][1].arguments['query']}")

    episode = Episode(replace(EPISODE.question, protected=protected), ())
    run_calls({"search": Repeats(set())}, [(episode, ToolCall("search", {"query": "who is it"}))], ())
    assert "search is unavailable" in caplog.text
    assert ("who is it" in caplog.text) is not protected
