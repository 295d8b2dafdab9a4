"""What an agent can call: the tool interface, search, and opening documents."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from igpo_gym.errors import SpecError, choose
from igpo_gym.tools.interface import Tool, ToolSpec
from igpo_gym.tools.opening import Open
from igpo_gym.tools.searching import Search, queries, search_call

__all__ = ["Open", "Search", "Tool", "ToolSpec", "queries", "resolve_tools", "search_call"]

MAKERS: dict[str, Callable[..., Tool]] = {"search": Search, "open": Open}
"""By name, what makes a tool. It is given ``retriever`` and ``top_k`` where it has such parameters."""


def resolve_tools(spec: str | Tool | Sequence[str | Tool], **context: Any) -> tuple[Tool, ...]:
    """Tools from a spec: names joined by " + ", a Tool, or a sequence of names and Tools.

    ``context`` holds what the environment has for tools: its ``retriever``, and ``top_k``. Raises SpecError
    for a name that is not known and for an object that is no tool.
    """
    parts: list[Any] = [spec] if not isinstance(spec, list | tuple) else list(spec)
    names = [
        name.strip() if isinstance(name, str) else name
        for part in parts
        for name in (part.split(" + ") if isinstance(part, str) else [part])
    ]
    return tuple(_made(name, context) for name in names if name != "")


def _made(spec: str | Tool, context: dict[str, Any]) -> Tool:
    if isinstance(spec, str):
        make = choose(MAKERS, spec, "tool")
        known = inspect.signature(make).parameters
        return make(**{name: value for name, value in context.items() if name in known})
    if not isinstance(getattr(spec, "spec", None), ToolSpec) or not callable(getattr(spec, "run", None)):
        raise SpecError(
            f"a tool is a name, or an object with a ToolSpec as spec and with run(calls), not {spec!r:.60}"
        )
    return spec
