from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from igpo_gym import SearchQAEnv
from igpo_gym.episode import Episode, ToolCall, ToolCalls, ToolResult
from igpo_gym.tools import ToolSpec, open_call, queries


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ({"query": "Danzig"}, ("Danzig",)),
        ({"query": ["Danzig", "Vistula"]}, ("Danzig", "Vistula")),
        ({"query": []}, ()),
        ({"count": 3, "query": "Danzig"}, ("Danzig",)),
        ({"q": "Danzig", "count": 3}, ("Danzig",)),
        ({"queries": ["Danzig", "Vistula"], "language": "en"}, ("Danzig", "Vistula")),
        ({"query": {"must": "Danzig"}}, ('{"must": "Danzig"}',)),
        ({"query": ["Danzig", 1945]}, ("Danzig", "1945")),
        ({"query": None}, ("null",)),
        ({}, ("",)),
    ],
)
def test_queries_of_a_search_whoever_made_it(arguments: dict[str, Any], asked: tuple[str, ...]) -> None:
    calls = (ToolCall("search", arguments), *open_call("Danzig").calls)
    assert queries(ToolCalls(calls)) == asked


class Web:
    """A search as MCP servers have it, with arguments of its own."""

    spec = ToolSpec("search", "Search the web.", {"type": "object", "properties": {"q": {"type": "string"}}})

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        return [ToolResult(f"Nothing about {call.arguments['q']}.") for _, call in calls]


def test_a_search_of_another_may_name_its_arguments_otherwise() -> None:
    reward = "f1 - 0.25*search-cost"
    env = SearchQAEnv(questions="world:test", scorer=None, reward=reward, tools=[Web()])
    env.reset(seed=0)
    observation, paid, *_, info = env.step("<search>Danzig</search>")
    assert "Nothing about Danzig." in observation
    assert (info["queries"], paid) == (("Danzig",), -0.25)
