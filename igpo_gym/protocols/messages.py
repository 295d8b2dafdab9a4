"""Chat messages in whatever form a library writes them: their role, their text and their calls of tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from igpo_gym.episode import Role, ToolCall
from igpo_gym.protocols.calls_in_text import ARGUMENTS, call, calls_in, parsed, written

ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "ai", "gpt", "model", "agent", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "environment"), "tool"),
}
"""What the roles of many libraries are here."""


@dataclass(frozen=True, slots=True)
class Said:
    """A message as it was written: its role and text, its calls, and which call it replies to."""

    role: Role
    text: str
    calls: tuple[ToolCall, ...] = ()
    ids: tuple[str, ...] = ()
    """The ids of its calls, where they have some."""
    replies_to: str = ""


def said(message: Mapping[str, Any], called: str = "a message") -> Said:
    """One message, which errors name as ``called``.

    A thought beside the text comes first, between tags; calls beside it come last, as JSON.

    A role is that of ``role``, of ShareGPT's ``from`` or of LangChain's ``type``.

    ValueError for a role that is none, for a message of pictures, and for one whose content stands in a field
    that is not known.

    >>> search = {"name": "search", "arguments": '{"query": "Danzig"}'}
    >>> said({"role": "assistant", "content": "So:", "tool_calls": [{"id": "1", "function": search}]}).text
    'So:\\n<tool_call>\\n{"name": "search", "arguments": {"query": "Danzig"}}\\n</tool_call>'
    """
    name = message.get("role", message.get("from", message.get("type")))
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise ValueError(f"{called} has the role {name!r:.40}, which is none of: {', '.join(ROLES)}")
    if str(name).lower() == "function_call":
        message = _called(message)
    if unknown := [key for key in _UNREAD if message.get(key) and not message.get("content")]:
        raise ValueError(f"{called} has its content in {unknown[0]!r}, which is not read")
    try:
        text = _text(message.get("content", message.get("value")))
    except ValueError as problem:
        raise ValueError(f"{called} has {problem}") from None
    thought = next((message[key] for key in _THOUGHTS if isinstance(message.get(key), str)), "")
    if thought.strip() and "</think>" not in text:
        text = f"<think>\n{thought.strip()}\n</think>\n\n{text}"
    try:
        made, ids = _calls(message)
    except ValueError as problem:
        raise ValueError(f"{called}: {problem}") from None
    if made and role == "assistant" and not _shows_calls(text):
        text += "\n" * bool(text.strip() and not text.endswith("\n")) + written(made)
    return Said(role, text, made, ids, str(message.get("tool_call_id") or ""))


_UNREAD = ("parts", "kwargs", "data")
"""Where Gemini and LangChain's own form have the content."""

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise ValueError(f"a {type(content).__name__} as its content, not a text or a list of parts")
    return "".join(_part(part) for part in content)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise ValueError(f"a {type(part).__name__} as a part")
    kind = part.get("type", "text")
    for name in ("reasoning", "thinking"):
        if kind == name and isinstance(part.get(name), str):
            return f"<think>\n{part[name].strip()}\n</think>\n\n" if part[name].strip() else ""
    if isinstance(part.get("text"), str):
        return str(part["text"])
    if kind in ("tool_use", "tool_result", "data"):
        return _text(part.get("content"))
    raise ValueError(f"a part of the type {kind!r:.40}, not text")


def _calls(message: Mapping[str, Any]) -> tuple[tuple[ToolCall, ...], tuple[str, ...]]:
    """The calls that stand beside a message's text, and their ids."""
    given = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
    content = message.get("content")
    if isinstance(content, list | tuple):
        given = [
            *given,
            *(part for part in content if isinstance(part, Mapping) and part.get("type") == "tool_use"),
        ]
    calls, ids = list[ToolCall](), list[str]()
    for each in given if isinstance(given, list) else ():
        if isinstance(each, str):
            each = _json_object(each)
        if not isinstance(each, Mapping):
            raise ValueError(f"a call of a tool is a {type(each).__name__}")
        function = each["function"] if isinstance(each.get("function"), Mapping) else each
        name = function.get("name") or function.get("function")
        arguments = next((function[key] for key in ARGUMENTS if key in function), None)
        calls.append(call(name, arguments))
        ids.append(str(each.get("id") or ""))
    return tuple(calls), tuple(ids) if all(ids) else ()


def _shows_calls(text: str) -> bool:
    """Whether calls stand in a text already, be they malformed."""
    try:
        return bool(calls_in(text))
    except ValueError:
        return True


def _called(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message that is a call, or a list of such, as JSON: LLaMA-Factory's ``function_call``."""
    calls = parsed(str(message.get("content", message.get("value"))))
    if not isinstance(calls, list | dict):
        raise ValueError("a message of the role 'function_call' is no JSON")
    return {"tool_calls": calls if isinstance(calls, list) else [calls]}


def _json_object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("a call of a tool is a text that is no JSON") from None
