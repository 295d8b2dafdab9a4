"""What an agent can call: the tool interface, search, and opening documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.tools.evidence import GOLD_EVIDENCE, GoldEvidence
from igpo_gym.tools.interface import Tool, ToolSpec
from igpo_gym.tools.opening import Open, open_call
from igpo_gym.tools.searching import Search, queries, search_call

__all__ = ["Open", "Search", "Tool", "ToolSpec", "open_call", "queries", "resolve_tools", "search_call"]

specs.register("tool", "search", Search)
specs.register("tool", "open", Open)
specs.register("tool", GOLD_EVIDENCE, GoldEvidence)
specs.register(
    "toolbox",
    "mcp",
    "igpo_gym.tools.mcp:McpServer",
    form="mcp:URL or mcp:COMMAND",
    runs_code=lambda spec: "://" not in spec.place.split(maxsplit=1)[0],
)


def resolve_tools(spec: str | Tool | Sequence[str | Tool], **context: Any) -> tuple[Tool, ...]:
    """Tools from a spec: names joined by " + ", a Tool, or a sequence of names and Tools.

    ``mcp:URL`` and ``mcp:COMMAND`` are the tools of an MCP server (:mod:`igpo_gym.tools.mcp`).

    ``context`` holds what the environment has for tools: its ``retriever``, ``top_k`` and ``questions``; what
    makes a tool is given those that it has parameters for. An empty text is no tool at all. Raises SpecError
    for a name that is not known and for an object that is no tool.

    >>> class Index:
    ...     def search(self, queries, k):
    ...         return [[] for _ in queries]
    >>> [tool.top_k for tool in resolve_tools("search", retriever=Index(), top_k=5)]
    [5]
    """
    parts = list(spec) if isinstance(spec, list | tuple) else [spec]
    named = [name for part in parts for name in (specs.joined(part) if isinstance(part, str) else [part])]
    return tuple(tool for name in named if name != "" for tool in _made(name, context))


def _made(spec: Any, context: dict[str, Any]) -> Sequence[Tool]:
    """The tool that a spec names, or those of a toolbox, such as a server has."""
    if isinstance(spec, str) and specs.registered_in("toolbox", spec):
        tools: Sequence[Tool] = specs.resolve("toolbox", spec).tools
        return tools
    return (specs.resolve("tool", spec, **context),)
