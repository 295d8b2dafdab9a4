"""The contract of a grammar: how an agent writes calls and answers as text, apart from any prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from igpo_gym.episode import Answer, ToolCall, ToolCalls
from igpo_gym.numbers import finite_number
from igpo_gym.text import echoed, neutralize, one_line, visible, well_formed
from igpo_gym.tools.interface import ToolSpec

Tools: TypeAlias = Sequence[ToolSpec]

MAX_QUERIES = 16
"""How many calls a message may carry, the items of a list counted each: more is a runaway agent, and would
stall the batch that it is in."""

MAX_VALUES, MAX_DEPTH = 1000, 16
"""How many JSON values the arguments of a call may hold, and how deeply nested: the check against a schema
costs time and stack for each, and a runaway message may hold millions."""

LONGEST_NAME = 40
"""How many characters of a name that the agent made up reach it."""

THINK, THOUGHT = "<think>", "</think>"


class Grammar(Protocol):
    """Reads and writes messages. Stateless; the tools are told with every call.

    >>> from igpo_gym.protocols import TAGS
    >>> from igpo_gym.tools.searching import SEARCH, search_call
    >>> TAGS.grammar.write(search_call("Danzig"), [SEARCH]), TAGS.grammar.stops([SEARCH])
    ('<search>Danzig</search>', ('</search>', '</answer>'))
    """

    def read(self, message: str, tools: Tools) -> ToolCalls | Answer:
        """The action of a message. Raises ValueError in words that teach the agent."""
        ...

    def write(self, action: ToolCalls | Answer, tools: Tools) -> str:
        """The message that does ``action``, so that :meth:`read` gives it back."""
        ...

    def end(self, text: str, tools: Tools, thinking: bool) -> int | None:
        """Where in a growing text the action is complete, so that sampling may stop; None where it is not.

        ``thinking``: the text begins within a thought that the prompt has opened.
        """
        ...

    def stops(self, tools: Tools) -> tuple[str, ...]:
        """Texts after each of which an action may be complete, for engines that stop at texts."""
        ...


def after_thought(text: str, thinking: bool) -> int | None:
    """Where the agent's thought ends and its action may begin; None while a thought is open."""
    if not thinking:
        opening = text.find(THINK)
        if opening < 0:
            return 0
    closing = text.find(THOUGHT)
    return None if closing < 0 else closing + len(THOUGHT)


def spec_named(name: object, tools: Tools) -> ToolSpec:
    """The tool of that name. Raises ValueError with the names that there are."""
    for tool in tools:
        if tool.name == name:
            return tool
    names = ", ".join(f'"{tool.name}"' for tool in tools)
    raise ValueError(f"the only tool is {names}" if len(tools) == 1 else f"the tools are {names or 'none'}")


def checked_call(tool: ToolSpec, arguments: Mapping[str, Any]) -> ToolCall:
    """The call, its texts cleaned. Raises ValueError for arguments that the schema does not allow."""
    lone = arguments.get(tool.first) if len(arguments) == 1 else None
    if tool.any_text and isinstance(lone, str) and (text := visible(well_formed(lone))):
        return ToolCall(tool.name, {tool.first: text})
    check_values(arguments)
    cleaned = {name: _cleaned(value) for name, value in arguments.items()}
    if problem := tool.problem(cleaned):
        raise ValueError(f"{tool.name}: {neutralize(echoed(problem))}")
    for name, value in cleaned.items():
        if value == "" or (isinstance(value, list) and (not value or "" in value)):
            shown = neutralize(one_line(name[:LONGEST_NAME]))
            raise ValueError(f'"{shown}" of {tool.name} must not be empty')
    return ToolCall(tool.name, cleaned)


def check_values(arguments: Mapping[str, Any]) -> None:
    """Raise ValueError for arguments of too many values, or too deeply nested, and for what no JSON holds."""
    level, count, depth = list(arguments.values()), 0, 0
    while level:
        count, depth = count + len(level), depth + 1
        if count > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError("the arguments are too long or too deeply nested")
        numbers = [each for each in level if isinstance(each, int | float) and not isinstance(each, bool)]
        if any(finite_number(each) is None for each in numbers):
            raise ValueError("a number in the arguments is too large, or not a number")
        level = [
            inner
            for value in level
            if isinstance(value, list | dict)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return visible(well_formed(value))
    if isinstance(value, dict):
        return {well_formed(name): _cleaned(each) for name, each in value.items()}
    return [_cleaned(each) for each in value] if isinstance(value, list) else value


def checked_calls(calls: Sequence[ToolCall]) -> ToolCalls:
    """The calls of one message. Raises ValueError where they are too many."""
    if len(calls) == 1 and list not in map(type, calls[0].arguments.values()):
        return ToolCalls(tuple(calls))
    count = sum(
        max((len(value) for value in call.arguments.values() if isinstance(value, list)), default=1)
        for call in calls
    )
    check_count(count)
    return ToolCalls(tuple(calls))


def check_count(count: int) -> None:
    """Raise ValueError for more calls than a message takes."""
    if count > MAX_QUERIES:
        raise ValueError(f"a message takes at most {MAX_QUERIES} queries, not {count}")


def checked_answer(text: str) -> Answer:
    """The answer, cleaned. Raises ValueError for one in which nothing can be seen."""
    cleaned = visible(well_formed(text))
    if not cleaned:
        raise ValueError("the answer is empty")
    return Answer(cleaned)


_CONTROL_ENDS = ("|>", "｜>", "</s>", "<end_of_turn>", "<turn|>", "<seed:eos>", "<eos>", "<pad>")
_BACKWARDS = "|".join(map(re.escape, (each[::-1] for each in _CONTROL_ENDS if each.startswith("<"))))
_END_OF_TURN = re.compile(rf"\s*+(?:(?:>[|｜][\w.▁-]+[|｜]<|{_BACKWARDS})\s*+)+")
"""What a message that is read from its end begins with: of any length, and in one pass."""


def without_end_of_turn(message: str) -> str:
    """The message without control tokens that were spelled out at its end, as some servers send them.

    >>> without_end_of_turn("<answer>Danzig</answer><|im_end|>")
    '<answer>Danzig</answer>'
    """
    if not message.rstrip().endswith(_CONTROL_ENDS):
        return message
    found = _END_OF_TURN.match(message[::-1])
    return message[: len(message) - found.end()] if found else message
