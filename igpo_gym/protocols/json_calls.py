"""Calls as JSON in blocks, the form of Hermes and Qwen: ``{"name": ..., "arguments": {...}}``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from igpo_gym.episode import ToolCall
from igpo_gym.protocols.grammar import Tools, checked_call, spec_named
from igpo_gym.text import changed_texts, neutralize

_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"\s*")
_NAME = re.compile(r'"name"\s*:\s*"(\w+)"')


def call_object(call: ToolCall) -> dict[str, Any]:
    """A call as the JSON object that the agent writes."""
    return {"name": call.tool, "arguments": dict(call.arguments)}


def form_of(content: str, tools: Tools) -> str:
    """A call to show to an agent that wrote a wrong one: of the tool that it names, else of the first, the
    richest example."""
    if not tools:
        return ""
    named = _NAME.search(content)
    tool = next((each for each in tools if named and each.name == named[1]), tools[0])
    return json.dumps(call_object(ToolCall(tool.name, tool.examples[-1])))


def read_call(content: str, tools: Tools) -> tuple[str, dict[str, Any]]:
    """The name and the arguments in a JSON call. Raises ValueError in words that teach the agent."""
    try:
        call = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("the call is not valid JSON") from None
    name = call.get("name") if isinstance(call, dict) else None
    spec_named(name, tools)
    arguments = call.get("arguments")
    if isinstance(arguments, str):  # the form of OpenAI's interface
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise ValueError(f'the "arguments" of {name} are a text that is not valid JSON') from None
    if not isinstance(arguments, dict):
        raise ValueError(f'"arguments" of {name} must be an object')
    return str(name), arguments


@dataclass(frozen=True, slots=True)
class JsonForm:
    """Blocks of one tag that hold one call each, in JSON.

    >>> from igpo_gym.protocols.blocks import Blocks
    >>> from igpo_gym.tools.searching import SEARCH
    >>> grammar = Blocks(JsonForm(), "tool_response")
    >>> text = '<tool_call>{"name": "search", "arguments": {"query": "</tool_call>"}}</tool_call>'
    >>> grammar.read(text, [SEARCH]).calls[0].arguments
    {'query': '</tool_call>'}
    """

    tag: str = "tool_call"

    def tags(self, tools: Tools) -> tuple[str, ...]:
        """The one tag."""
        return (self.tag,)

    def read(self, tag: str, attributes: str, content: str, tools: Tools) -> Sequence[ToolCall]:
        """One call. The error says how to write one."""
        try:
            name, arguments = read_call(content, tools)
            return (checked_call(spec_named(name, tools), arguments),)
        except ValueError as problem:
            raise ValueError(f"{problem}; write {form_of(content, tools)}") from None

    def write(self, call: ToolCall, tools: Tools) -> str:
        """The block of a call; nothing in it can close the block."""
        text = json.dumps(changed_texts(call_object(call), neutralize), ensure_ascii=False)
        return f"<{self.tag}>{text}</{self.tag}>"

    def own_end(self, text: str, start: int) -> int | None:
        """JSON has an end of its own: a tag within a string is part of the string."""
        blanks = _BLANKS.match(text, start)
        assert blanks is not None
        try:
            return _DECODER.raw_decode(text, blanks.end())[1]
        except json.JSONDecodeError as problem:
            # What a later token may complete, as against JSON that is malformed.
            unfinished = problem.pos >= len(text) or problem.msg.startswith("Unterminated string")
            return None if unfinished else start
        except (ValueError, RecursionError):  # a number of too many digits, or too deeply nested
            return start
