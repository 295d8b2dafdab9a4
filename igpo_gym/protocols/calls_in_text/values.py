"""Calls as values, from what a library hands over and from JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from igpo_gym.episode import ToolCall
from igpo_gym.protocols.between import between
from igpo_gym.protocols.calls_in_text.python import value_in_python

ARGUMENTS = ("arguments", "parameters", "args", "input", "action_input")
"""Where a call has its arguments."""

_NAMES = ("name", "function", "tool", "tool_name", "action")
"""Where it has the tool's name."""

_IDS = ("id", "tool_call_id")
"""Where it has its id."""

TAGS = {
    "search": "query",
    "open": "document",
    "browse": "url",
    "visit": "url",
    "access": "url",
    "code": "code",
    "python": "code",
}
"""By a tool's name the argument that a text alone stands for; for tools of other names ``arguments``."""

_DECODER = json.JSONDecoder(strict=False)
_BLANKS = re.compile(r"\s*")


def call(name: Any, arguments: Any) -> ToolCall:
    """A call that a library hands over; arguments may be an object, or JSON as text.

    >>> call("search", '{"query": "Danzig"}').arguments, call("search", "Danzig").arguments
    ({'query': 'Danzig'}, {'arguments': 'Danzig'})
    """
    if not isinstance(name, str) or not name:
        raise ValueError("a call of a tool names no tool")
    if isinstance(arguments, str):
        value = parsed(arguments) if arguments.strip() else {}
        arguments = value if isinstance(value, dict) else {"arguments": arguments}
    if arguments is None:
        return ToolCall(name, {})
    return ToolCall(name, dict(arguments) if isinstance(arguments, Mapping) else {"arguments": arguments})


def written(calls: Sequence[ToolCall]) -> str:
    """Calls that a library handed over beside the text, as text: JSON between ``<tool_call>`` tags, a line
    each.

    A tag or a control token within a call is written with an escape, so that no reader takes it for one of
    the message.

    >>> print(written([ToolCall("search", {"query": "</think>"})]))
    <tool_call>
    {"name": "search", "arguments": {"query": "\\u003c/think>"}}
    </tool_call>
    """
    objects = [{"name": each.tool, "arguments": dict(each.arguments)} for each in calls]
    lines = [json.dumps(each, ensure_ascii=False, default=str) for each in objects]
    return "\n".join(f"<tool_call>\n{_SIGN.sub(_escaped, line)}\n</tool_call>" for line in lines)


_SIGN = re.compile(r"<(?=/?[a-z_:]+[>=|]|\|)|\[(?=/?THINK\])")


def _escaped(sign: re.Match[str]) -> str:
    return f"\\u{ord(sign[0]):04x}"


def parsed(text: str) -> Any:
    """The value that a text begins with, in JSON or as Python writes it; None for any other text."""
    text = text.strip()
    with suppress(ValueError, RecursionError):
        return _DECODER.raw_decode(text)[0]
    return value_in_python(text)


def json_end(text: str, start: int) -> int:
    """Where the JSON object or list that begins at a place ends; the place itself where there is none."""
    blanks = _BLANKS.match(text, start)
    assert blanks is not None
    if text.startswith(("{", "["), blanks.end()):
        with suppress(ValueError, RecursionError):
            return _DECODER.raw_decode(text, blanks.end())[1]
    return start


_CODE = re.compile("<(code)>")


def from_json(text: str) -> list[ToolCall]:
    """The calls in JSON: an object with a name, or a list of such; none in any other text."""
    value, found = parsed(text), list[ToolCall]()
    code = next((inner.strip() for _, inner in between(text, _CODE)), None)
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            return []
        function = each["function"] if isinstance(each.get("function"), dict) else each
        name = next((function[key] for key in _NAMES if isinstance(function.get(key), str)), "")
        arguments: Any = next((function[key] for key in ARGUMENTS if key in function), {})
        if not name:
            return []
        made = call(name, arguments)
        found.append(made if code is None else ToolCall(name, {**made.arguments, "code": code}))
    return found


def ids_in_json(text: str) -> list[str]:
    """The id of each call in JSON; an empty one where it has none."""
    value = parsed(text)
    objects = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]
    return [next((str(each[key]) for key in _IDS if each.get(key) is not None), "") for each in objects]


_SEMICOLON = re.compile(r"\s*;?\s*")


def json_row(text: str) -> list[ToolCall]:
    """The calls in JSON, one behind the other with blanks or semicolons between, as all of a text; none in
    any other."""
    found, place = list[ToolCall](), 0
    while place < len(text):
        end = json_end(text, place)
        made = from_json(text[place:end]) if end > place else []
        if not made:
            return []
        found += made
        semicolon = _SEMICOLON.match(text, end)
        place = semicolon.end() if semicolon else end
    return found
