"""What an agent's message does, in the ways in which agents of many projects write calls and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from igpo_gym.agents.rollouts.transcripts.blocks import blocks
from igpo_gym.episode import Action, Answer, Invalid, ToolCall, ToolCalls
from igpo_gym.protocols.blocks import attributes
from igpo_gym.protocols.grammar import check_values
from igpo_gym.protocols.messages import ARGUMENTS, call, parsed

TAGS = {
    "search": "query",
    "open": "document",
    "browse": "url",
    "visit": "url",
    "access": "url",
    "code": "code",
    "python": "code",
}
"""The tags around a call of a tool by its name, each with the argument that stands in it; for tools of other
names ``arguments``."""

FINAL = frozenset(
    ("answer", "final_answer", "submit", "submit_answer", "submit_final_answer", "finish", "give_answer")
)
"""The tools whose call is the answer."""

_TOOL_CALL = re.compile("<(tool_call)>")
_FUNCTION = re.compile(r"<function=([^<>\s]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^<>\s]+)>\n?")
_CODE = re.compile("<(code)>")
_TEXT = re.compile(r"\\(?:text\w*|mathrm|mathbf)\{([^{}]*)\}")
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_UNFINISHED = re.compile(rf"<(?:think|tool_call|{'|'.join(TAGS)})[\s>]")
_THOUGHT, _THOUGHT_END = re.compile("<(think)>"), "</think>"


def action(
    message: str, calls: Sequence[ToolCall] = (), plain_answers: bool = False, called: str = ""
) -> Action:
    """What a message does. ``calls`` are those that a library handed over beside its text, and ``called`` is
    a tool of which it is known that it was called by its tag.

    What stands in a thought that was closed does nothing. Calls go before answers, an answer being between
    ``<answer>`` tags, in ``\\boxed{}``, or the argument of a final tool; with ``plain_answers`` a message
    without any of these is an answer as a whole, unless it breaks off in a thought or a call.

    >>> action('<tool_call>{"name": "web_search", "arguments": {"query": ["Danzig"]}}</tool_call>')
    ToolCalls(calls=(ToolCall(tool='web_search', arguments={'query': ['Danzig']}),))
    >>> action("<think>So it is.</think> It is \\\\boxed{Danzig}.")
    Answer(text='Danzig')
    >>> action("", [ToolCall("submit", {"answer": "Danzig"})])
    Answer(text='Danzig')
    """
    said = without_thoughts(message)
    try:
        found = list(calls) or _tool_calls(said) or tagged_calls(said, called)
        for each in found:
            check_values(each.arguments)  # as an environment does, which records are those of
    except ValueError as problem:
        return Invalid(str(problem))
    if found:
        final = next((call for call in found if call.tool.lower() in FINAL), None)
        text = "" if final is None else _argument(final)
        return Answer(text) if text else ToolCalls(tuple(found))
    text = answer(said)
    if not text and plain_answers and not _UNFINISHED.search(said):
        text = said.strip()
    return Answer(text) if text else Invalid("no call and no answer is found in the message")


def last_query(message: str, opening: str, closing: str, problem: str) -> Action:
    """The last query of a message that ends with one, for agents whose sampling stops there; else the answer
    in it. ``problem`` is the reason where there is neither.

    >>> last_query("<q>one</q> or <q> two </q>", "<q>", "</q>", "nothing").calls[0].arguments
    {'query': 'two'}
    """
    said = message.rstrip()
    if said.endswith(closing) and opening in said:
        query = said.removesuffix(closing).rpartition(opening)[2].strip()
        return ToolCalls((ToolCall("search", {"query": query}),)) if query else Invalid("the query is empty")
    text = answer(said)
    return Answer(text) if text else Invalid(problem)


def without_thoughts(message: str) -> str:
    """The message without thoughts that it closes, the first of which may have been opened for it."""
    first, sign, rest = message.partition(_THOUGHT_END)
    said, kept, place = rest if sign and not _THOUGHT.search(first) else message, list[str](), 0
    for found, inner in blocks(said, _THOUGHT):
        kept.append(said[place : found.start()])
        place = found.end() + len(inner) + len(_THOUGHT_END)
    return "".join(kept) + said[place:]


def answer(text: str) -> str:
    """The last answer that stands in a text between its marks; empty where there is none.

    >>> answer(r"<answer> The final answer is \\[ \\boxed{San Francisco} \\] </answer>")
    'San Francisco'
    """
    tagged = _ANSWER.findall(text)
    inner = tagged[-1] if tagged else text
    return boxed(inner) or (tagged[-1].strip() if tagged else "")


def boxed(text: str) -> str:
    """What stands in the last ``\\boxed{}`` of a text, its braces balanced; empty where there is none."""
    start = text.rfind("\\boxed{")
    depth = 0
    for place in range(start + len("\\boxed"), len(text)) if start >= 0 else ():
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            inner = text[start + len("\\boxed{") : place].strip()
            return _TEXT.sub(r"\1", inner).strip()
    return ""


def tag_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Matches the opening tags of these names: the name, and the attributes of one that has some."""
    return re.compile(rf"<({'|'.join(map(re.escape, filter(None, names)))})(\s[^<>]*)?>")


def last_tag(message: str) -> str:
    """The name of the tag whose closing ends a message; empty where none does.

    >>> last_tag("<calc>6*7</calc>\\n"), last_tag("So.")
    ('calc', '')
    """
    found = re.search(r"</(\w+)>\Z", message.rstrip())
    return found[1] if found else ""


def tagged_calls(text: str, called: str = "") -> list[ToolCall]:
    """The calls in tags, of tools of the known names and of ``called``.

    >>> tagged_calls('<open page="2">Salman</open>')
    [ToolCall(tool='open', arguments={'document': 'Salman', 'page': 2})]
    """
    return [tagged_call(*each) for each in blocks(text, tag_pattern((*TAGS, called))) if each[1].strip()]


def tagged_call(tag: re.Match[str], inner: str) -> ToolCall:
    """The call in a tag that :func:`tag_pattern` matched. An attribute that is JSON is what that means."""
    arguments: dict[str, Any] = {TAGS.get(tag[1], "arguments"): inner.strip()}
    with suppress(ValueError):
        arguments |= {name: _value(value) for name, value in attributes(tag[1], tag[2] or "")}
    return ToolCall(tag[1], arguments)


def _value(text: str) -> Any:
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
        check_values({"": value})
        return value
    return text


def _tool_calls(text: str) -> list[ToolCall]:
    """The calls between ``<tool_call>`` tags. ValueError where one of them cannot be read."""
    return [each for _, inner in blocks(text, _TOOL_CALL) for each in _calls_in(inner.strip())]


def _calls_in(text: str) -> list[ToolCall]:
    for read in _FORMS:
        if found := read(text):
            return found
    raise ValueError("what stands in <tool_call> is no call: a JSON object with a name and arguments")


def _from_json(text: str) -> list[ToolCall]:
    value = parsed(text)
    found = []
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            return []
        function = each["function"] if isinstance(each.get("function"), dict) else each
        name = function.get("name") or function.get("function") or function.get("tool")
        arguments: Any = next((function[key] for key in ARGUMENTS if key in function), {})
        if not isinstance(name, str) or not name:
            return []
        made = call(name, arguments)
        code = next((inner.strip() for _, inner in blocks(text, _CODE)), None)
        found.append(made if code is None else ToolCall(name, {**made.arguments, "code": code}))
    return found


def _from_xml(text: str) -> list[ToolCall]:
    return [
        ToolCall(
            name,
            {
                found[1]: _scalar(value.removesuffix("\n"))
                for found, value in blocks(inner, _PARAMETER, "</parameter>")
            },
        )
        for name, inner in _FUNCTION.findall(text)
    ]


_FORMS: tuple[Callable[[str], list[ToolCall]], ...] = (_from_json, _from_xml)
"""The ways in which a call is written between ``<tool_call>`` tags."""


def _scalar(text: str) -> Any:
    value = parsed(text) if text.strip().startswith(("[", "{")) else None
    return text if value is None else value


def _argument(final: ToolCall) -> str:
    """The answer among a final tool's arguments: that of its name, else the first text, else a number."""
    named = [final.arguments[key] for key in ("answer", "final_answer", "result") if key in final.arguments]
    others = sorted(final.arguments.values(), key=lambda value: not isinstance(value, str))
    values = [value for value in (*named, *others) if isinstance(value, str | int | float)]
    return next((text for value in values if (text := str(value).strip())), "")
