"""Calls of tools as they stand in the text of a message, in the forms of many model families.

Which family an agent is of is not told, so all forms are tried: :data:`FORMS` has a row for each. What a call
quotes decides nothing, for the form that a text opens first is the one that is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from igpo_gym.data.files import literal
from igpo_gym.episode import ToolCall
from igpo_gym.protocols.between import between
from igpo_gym.protocols.grammar import without_end_of_turn

ARGUMENTS = ("arguments", "parameters", "args", "input", "action_input")
"""Where a call has its arguments."""

_NAMES = ("name", "function", "tool", "action")
"""Where it has the tool's name."""

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

OBSERVATION = re.compile(r"^[^\S\n]*(?P<mark>Observation(?: ?\d+)?:)", re.MULTILINE)
"""What a reply begins with in ReAct."""

_DECODER = json.JSONDecoder(strict=False)
_BLANKS = re.compile(r"\s*")
_NAME = re.compile(r"\w[\w.:/-]*")


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


_SIGN = re.compile(r"<(?=/?[a-z_]+[>=]|\|)|\[(?=/?THINK\])")


def _escaped(sign: re.Match[str]) -> str:
    return f"\\u{ord(sign[0]):04x}"


def parsed(text: str) -> Any:
    """The value that a text begins with, in JSON or as Python writes it; None for any other text."""
    text = text.strip()
    with suppress(ValueError, RecursionError):
        return _DECODER.raw_decode(text)[0]
    return literal(text)


@dataclass(frozen=True, slots=True)
class CallForm:
    """A form of calls: what opens and closes one, and how what stands between is read.

    >>> kimi = next(form for form in FORMS if form.name == "Kimi K2")
    >>> text = '<|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>{"query": "Danzig"}'
    >>> kimi.calls(f"{text}<|tool_call_end|>")
    [ToolCall(tool='search', arguments={'query': 'Danzig'})]
    """

    name: str
    """Who writes it, for messages."""
    sign: re.Pattern[str]
    """What tells that a call was begun, be it cut off."""
    opening: re.Pattern[str]
    """The text up to where the call itself, or its arguments, begin."""
    closing: str
    """A template for the opening's groups; empty where the next opening, or the end of the text, closes a
    call."""
    read: Callable[[re.Match[str], str], Sequence[ToolCall]]
    """From the opening and what follows it to calls: none where it is no call at all. Raises ValueError for a
    call that is malformed."""

    def calls(self, text: str) -> list[ToolCall]:
        """The calls of this form in a text. Raises ValueError where one of them cannot be read."""
        found = list[ToolCall]()
        for opening, inner in self._stretches(text):
            try:
                found += self.read(opening, inner)
            except ValueError as problem:
                raise ValueError(f"a call in the form of {self.name} cannot be read: {problem}") from None
        return found

    def _stretches(self, text: str) -> Iterator[tuple[re.Match[str], str]]:
        """Each opening and what stands behind it.

        JSON has an end of its own: a closing within a string of it closes nothing, and at the end of the text
        it may be left out, as servers do where sampling stops at it. Any other call that nothing closes is
        passed over.
        """
        missing, place, last = set[str](), 0, len(without_end_of_turn(text).rstrip())
        while opening := self.opening.search(text, place):
            start, whole = opening.end(), _json_end(text, opening.end())
            closing = opening.expand(self.closing)
            if not closing:
                after = self.opening.search(text, whole)
                end = after.start() if after else len(text)
            elif closing in missing or (end := text.find(closing, whole)) < 0:
                missing.add(closing)
                end = whole
            if closing not in missing or start < last <= end:
                yield opening, text[start:end]
            place = end


def calls_in(text: str) -> list[ToolCall]:
    """The calls in a text, in the form that it opens first of those in which there are some.

    Raises ValueError, with the form, for a call that is malformed.

    >>> calls_in('So: <tool_call>{"name": "search", "arguments": {"query": "[TOOL_CALLS]"}}</tool_call>')
    [ToolCall(tool='search', arguments={'query': '[TOOL_CALLS]'})]
    >>> calls_in('[TOOL_CALLS]search[ARGS]{"query": "Dan')
    Traceback (most recent call last):
    ValueError: a call in the form of Mistral cannot be read: the arguments are no JSON object
    """
    openings = [(form.opening.search(text), form) for form in FORMS]
    opened = [(found.start(), form) for found, form in openings if found]
    for _, form in sorted(opened, key=lambda each: each[0]):
        if calls := form.calls(text):
            return calls
    return []


def begins_call(text: str) -> bool:
    """Whether a call was begun in a text, in any form.

    >>> begins_call("I look: <|tool_calls_section_begin|>"), begins_call("It is < 5.")
    (True, False)
    """
    return any(form.sign.search(text) for form in FORMS)


def _json_end(text: str, start: int) -> int:
    """Where the JSON object or list that begins at a place ends; the place itself where there is none."""
    blanks = _BLANKS.match(text, start)
    assert blanks is not None
    if text.startswith(("{", "["), blanks.end()):
        with suppress(ValueError, RecursionError):
            return _DECODER.raw_decode(text, blanks.end())[1]
    return start


def _object(text: str) -> dict[str, Any]:
    """The arguments in a text: a JSON object, which some templates write as the JSON of its text."""
    value = parsed(text) if text.strip() else {}
    value = parsed(value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise ValueError("the arguments are no JSON object")
    return value


def _given(name: str, text: str) -> ToolCall:
    """A call with arguments in JSON, or with a text in their place."""
    value = parsed(text) if text else {}
    return ToolCall(name, value if isinstance(value, dict) else {TAGS.get(name.lower(), "arguments"): text})


_CODE = re.compile("<(code)>")


def _from_json(text: str) -> list[ToolCall]:
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


def _json(opening: re.Match[str], inner: str) -> list[ToolCall]:
    if found := _from_json(inner):
        return found
    raise ValueError("there is no JSON object with a name and arguments")


_SEMICOLON = re.compile(r"\s*;?\s*")


def _json_row(text: str) -> list[ToolCall]:
    """The calls in JSON with semicolons between them, as all of a text; none in any other."""
    found, place = list[ToolCall](), 0
    while place < len(text):
        end = _json_end(text, place)
        made = _from_json(text[place:end]) if end > place else []
        if not made:
            return []
        found += made
        semicolon = _SEMICOLON.match(text, end)
        place = semicolon.end() if semicolon else end
    return found


def _named(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """A call whose name stands in its opening."""
    name = opening[1].strip().removeprefix("functions.")
    if not name:
        raise ValueError("the call names no tool")
    return [ToolCall(name, _object(inner))]


_PARAMETER = re.compile(r"<parameter=([^<>\s]+)>\n?")


def _function(opening: re.Match[str], inner: str) -> list[ToolCall]:
    if inner.lstrip().startswith("{"):
        return _named(opening, inner)
    pairs = between(inner, _PARAMETER, "</parameter>")
    return [ToolCall(opening[1], {found[1]: _scalar(value.removesuffix("\n")) for found, value in pairs})]


_INVOKED = re.compile(
    r"<(?:｜DSML｜|\w{1,20}:)?parameter\s+name=\"([^\"<>\n]{1,200}+)\"(?:\s+string=\"(\w{4,5})\")?\s*>\n?"
)


def _invoke(opening: re.Match[str], inner: str) -> list[ToolCall]:
    arguments: dict[str, Any] = {}
    for found, value in between(inner, _INVOKED, f"</{opening[1]}parameter>"):
        exact = parsed(value) if found[2] == "false" else _scalar(value.removesuffix("\n"))
        if exact is None and value.strip() != "null":
            raise ValueError("a parameter that is no text is no JSON")
        arguments[found[1]] = exact
    return [ToolCall(opening[2], arguments)]


_KEY = re.compile(r"<arg_key>([^<>]*)</arg_key>\s*<arg_value>")


def _keys(inner: str) -> list[ToolCall]:
    """GLM's call: a name, then keys and values by turns."""
    name, sign, _ = inner.partition("<arg_key>")
    if not sign or not _NAME.fullmatch(name.strip()):
        return []
    pairs = between(inner, _KEY, "</arg_value>")
    return [ToolCall(name.strip(), {found[1].strip(): _scalar(value.strip("\n")) for found, value in pairs})]


def _tool_call(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """What stands in ``<tool_call>``, which several families write."""
    inner = inner.strip()
    if "<function=" in inner and "</function>" not in inner:
        inner += "</function>"
    return _from_json(inner) or _keys(inner) or _FUNCTION.calls(inner) or _json(opening, inner)


def _scalar(text: str) -> Any:
    """A list or an object as what it means; else a text, for no schema tells numbers from texts."""
    value = parsed(text) if text.strip().startswith(("[", "{")) else None
    return text if value is None else value


_BUILT_IN = re.compile(r"\s*(\w+)\.call\((\w+)=(.*)\)\s*", re.DOTALL)


def _python_tag(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Llama's call: JSON, a tool of its own (``brave_search.call(query="...")``), or code."""
    inner = without_end_of_turn(inner).strip()
    if inner.startswith(("{", "[")):
        return _json_row(inner) or _json(opening, "")
    if (found := _BUILT_IN.fullmatch(inner)) and isinstance(value := literal(found[3]), str):
        return [ToolCall(found[1], {found[2]: value})]
    return [ToolCall("python", {"code": inner})] if inner else []


def _mistral(opening: re.Match[str], inner: str) -> list[ToolCall]:
    return _named(opening, inner) if opening[1] and inner.strip() else _json(opening, inner)


def _recipient(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """gpt-oss's call: a message to a tool, in JSON where it says so or goes to a function."""
    if "json" in opening[2] or opening[1].startswith("functions."):
        return _named(opening, inner)
    return [_given(opening[1], inner)]


_INPUT = re.compile(r"^[^\S\n]*Action(?: ?\d+)? Input(?: ?\d+)?:", re.MULTILINE)
_STEP = re.compile(r"^[^\S\n]*(?:Thought|Action|Observation|Final Answer)(?: ?\d+)?:", re.MULTILINE)
_BRACKETS = re.compile(r"(\w[\w .-]*)\[(.*)\]")
_FENCE = re.compile(r"```\w*")


def _react(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """The first action of a message; what it makes up behind it does nothing."""
    inner = opening[1]
    inner = inner[: step.start()] if (step := _STEP.search(inner)) else inner
    if given := _INPUT.search(inner):
        name = inner[: given.start()].strip().strip("`*")
        return [_given(name, inner[given.end() :].strip())] if name and "\n" not in name else []
    if brackets := _BRACKETS.fullmatch(inner.strip().partition("\n")[0].strip()):
        return [_given(brackets[1].strip(), brackets[2].strip())]
    return _from_json(_FENCE.sub("", inner))


_HAS_ARGUMENTS = re.compile(r'"(?:arguments|parameters)"\s*:\s*[{"]')


def _alone(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """A message that is nothing but calls in JSON, each with arguments."""
    text = without_end_of_turn(opening[1]).strip()
    return _json_row(text) if _HAS_ARGUMENTS.search(text) else []


_FUNCTION = CallForm(
    "Qwen3-Coder",
    re.compile("<function="),
    re.compile(r"<function=([^<>\s]+)>"),
    "</function>",
    _function,
)
FORMS = (
    CallForm("Hermes", re.compile("<tool_call>"), re.compile("<tool_call>"), "</tool_call>", _tool_call),
    _FUNCTION,
    CallForm(
        "Kimi K2",
        re.compile(r"<\|tool_call"),
        re.compile(r"<\|tool_call_begin\|>\s*+([^<>\s]+?)(?::\d+)?\s*+<\|tool_call_argument_begin\|>"),
        "<|tool_call_end|>",
        _named,
    ),
    CallForm(
        "DeepSeek V3",
        re.compile("<｜tool▁call"),
        re.compile(r"<｜tool▁call▁begin｜>\w+<｜tool▁sep｜>([^<`\n]+)\n```(?:json)?"),
        "<｜tool▁call▁end｜>",
        _named,
    ),
    CallForm(
        "DeepSeek V3.1",
        re.compile("<｜tool▁call"),
        re.compile(r"<｜tool▁call▁begin｜>([^<\n]+)<｜tool▁sep｜>"),
        "<｜tool▁call▁end｜>",
        _named,
    ),
    CallForm("Nemotron", re.compile("<TOOLCALL>"), re.compile("<TOOLCALL>"), "</TOOLCALL>", _json),
    CallForm("Llama", re.compile(r"<\|python_tag\|>"), re.compile(r"<\|python_tag\|>"), "", _python_tag),
    CallForm(
        "Mistral",
        re.compile(r"\[TOOL_CALLS\]"),
        re.compile(r"\[TOOL_CALLS\]\s*+(?:([\w.-]+)\s*+(?:\[CALL_ID\]\s*+\w++\s*+)?(?:\[ARGS\])?)?"),
        "",
        _mistral,
    ),
    CallForm(
        "gpt-oss",
        re.compile(r"<\|channel\|>"),
        re.compile(
            r"\bto=(?!assistant\b|user\b)([\w.-]{1,200}+)"
            r"([^<\n]{0,40}+(?:<\|(?:channel|constrain)\|>[^<\n]{0,40}+){0,3}+)<\|message\|>"
        ),
        "<|call|>",
        _recipient,
    ),
    CallForm(
        "invoke",
        re.compile(r"<(?:｜DSML｜|\w{1,20}:)?invoke\s"),
        re.compile(r"<(｜DSML｜|\w{1,20}:|)invoke\s+name=\"([^\"<>\n]{1,200}+)\"\s*>"),
        r"</\1invoke>",
        _invoke,
    ),
    CallForm(
        "ReAct",
        re.compile(r"^[^\S\n]*Action(?: ?\d+)?:", re.MULTILINE),
        re.compile(r"^[^\S\n]*Action(?: ?\d+)?:([\s\S]*)", re.MULTILINE),
        "",
        _react,
    ),
    CallForm("a call alone", re.compile("(?!)"), re.compile(r"\A(\s*[{\[][\s\S]*)"), "", _alone),
)
"""All forms. Where a text opens two at one place, the first is tried first."""
