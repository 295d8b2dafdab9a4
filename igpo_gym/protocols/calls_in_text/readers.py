"""How the forms write a call: each reader makes calls of an opening and what follows it."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

from igpo_gym.episode import ToolCall
from igpo_gym.protocols.between import between
from igpo_gym.protocols.calls_in_text.form import CallForm, Reader
from igpo_gym.protocols.calls_in_text.python import calls_in_python, value_in_python
from igpo_gym.protocols.calls_in_text.values import TAGS, call, from_json, json_row, parsed
from igpo_gym.protocols.grammar import without_end_of_turn

_NAME = re.compile(r"\w[\w.:/-]*")


def in_json(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Calls in JSON."""
    if found := from_json(inner):
        return found
    raise ValueError("there is no JSON object with a name and arguments")


def rows(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Calls in JSON, in a list or one behind the other; none where another form stands in the marks."""
    if inner.lstrip().startswith("<"):
        return []
    return json_row(inner.strip()) or in_json(opening, inner)


def by_name(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Calls in JSON, each an object of which the only key is the tool's name, and its value the arguments."""
    value = parsed(inner)
    objects = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) and len(each) == 1 for each in objects):
        raise ValueError("there is no JSON list of objects with a name")
    return [call(*item) for each in objects for item in each.items()]


def named(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """A call whose name stands in its opening, and whose arguments are JSON."""
    name = opening["name"].strip().removeprefix("functions.")
    if not name:
        raise ValueError("the call names no tool")
    return [ToolCall(name, _object(inner))]


def _object(text: str) -> dict[str, Any]:
    """The arguments in a text: a JSON object, which some templates write as the JSON of its text."""
    value = parsed(text) if text.strip() else {}
    value = parsed(value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise ValueError("the arguments are no JSON object")
    return value


def pairs(opened: str, closing: str) -> Reader:
    """Reads a call whose name stands in its opening, and whose arguments stand each between marks: a pattern
    with the argument's name, and a text."""
    pattern = re.compile(opened)

    def read(opening: re.Match[str], inner: str) -> list[ToolCall]:
        found = between(inner, pattern, closing)
        return [ToolCall(opening["name"], {key[1]: _scalar(_unwrapped(value)) for key, value in found})]

    return read


def _unwrapped(value: str) -> str:
    """What stands in a section of XML that is read as it is."""
    if value.startswith("<![CDATA[") and value.endswith("]]>"):
        return value[len("<![CDATA[") : -len("]]>")]
    return value


def _scalar(text: str) -> Any:
    """A list or an object as what it means; else a text, for no schema tells numbers from texts."""
    value = parsed(text) if text.strip().startswith(("[", "{")) else None
    return text if value is None else value


def _exact(text: str) -> Any:
    """The value of a parameter of which it is told that it is no text."""
    value = parsed(text)
    if value is None and text.strip() != "null":
        raise ValueError("a parameter that is no text is no JSON")
    return value


_PARAMETER = re.compile(r"<parameter=([^<>\s]+)>\n?")


def function(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Qwen3-Coder's call, with parameters in tags; Llama's in the same tag, with JSON."""
    if inner.lstrip().startswith("{"):
        return named(opening, inner)
    found = between(inner, _PARAMETER, "</parameter>")
    return [ToolCall(opening["name"], {key[1]: _scalar(value.removesuffix("\n")) for key, value in found})]


FUNCTION = CallForm(
    "Qwen3-Coder",
    re.compile("<function="),
    re.compile(r"<function=(?P<name>[^<>\s]+)>"),
    "</function>",
    function,
)

_INVOKED = re.compile(
    r"<(?:｜DSML｜|\w{1,20}:)?parameter\s+name=\"([^\"<>\n]{1,200}+)\"(?:\s+string=\"(\w{4,5})\")?\s*>\n?"
)


def invoke(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """A call in the tags that Anthropic's models began with."""
    found = between(inner, _INVOKED, f"</{opening['prefix']}parameter>")
    arguments = {
        key[1]: _exact(value) if key[2] == "false" else _scalar(value.removesuffix("\n"))
        for key, value in found
    }
    return [ToolCall(opening["name"], arguments)]


_KEY = re.compile(r"<arg_key>([^<>]*)</arg_key>\s*<arg_value>")


def _keys(inner: str) -> list[ToolCall]:
    """GLM's call: a name, then keys and values by turns. Hunyuan closes the name with ``<tool_sep>``."""
    name = inner.partition("<arg_key>")[0].strip().removesuffix("<tool_sep>")
    if not _NAME.fullmatch(name):
        return []
    found = between(inner, _KEY, "</arg_value>")
    return [ToolCall(name, {key[1].strip(): _scalar(value.strip("\n")) for key, value in found})]


def tool_call(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """What stands in ``<tool_call>``, which several families write."""
    inner = inner.strip()
    if "<function=" in inner and "</function>" not in inner:
        inner += "</function>"
    return from_json(inner) or _keys(inner) or FUNCTION.calls(inner) or in_json(opening, inner)


_BUILT_IN = re.compile(r"\s*(\w+)\.call\((\w+)=(.*)\)\s*", re.DOTALL)


def python_tag(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Llama 3's call: JSON, a tool of its own (``brave_search.call(query="...")``), or code."""
    inner = without_end_of_turn(inner).strip()
    if inner.startswith(("{", "[")):
        return json_row(inner) or in_json(opening, "")
    if (found := _BUILT_IN.fullmatch(inner)) and isinstance(value := value_in_python(found[3]), str):
        return [ToolCall(found[1], {found[2]: value})]
    return [ToolCall("python", {"code": inner})] if inner else []


def in_python(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Calls in Python's syntax, or in JSON where the prompt asked for that; none where another form stands in
    the marks."""
    inner = inner.strip()
    code = without_end_of_turn(inner.partition("<|python_end|>")[0])
    return [] if inner.startswith("<") else from_json(inner) or calls_in_python(code)


def tool_code(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Gemma 3's code: calls, or code that is for the interpreter."""
    try:
        return calls_in_python(inner)
    except ValueError:
        return [ToolCall("python", {"code": inner.strip()})]


def action_start(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """InternLM's call: JSON for a plugin, code for the interpreter."""
    if opening["to"] == "plugin":
        return in_json(opening, inner)
    return [ToolCall("python", {"code": _FENCE.sub("", inner).strip()})]


_GEMMA = re.compile(
    r'(?P<mark><\|"\|>|<escape>)(?P<text>.*?)(?P=mark)|(?P<bare>[^\s{}\[\],:<]+)(?P<key>\s*:)?', re.DOTALL
)


def gemma(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Gemma's call: an object whose texts stand between marks of their own, and whose keys are bare.

    >>> opening = re.match("(?P<name>search)", "search")
    >>> gemma(opening, '{query:<|"|>"Danzig", a port<|"|>,top_k:3}')
    [ToolCall(tool='search', arguments={'query': '"Danzig", a port', 'top_k': 3})]
    """
    return named(opening, _GEMMA.sub(_in_json, inner))


def _in_json(found: re.Match[str]) -> str:
    """A text, a key or another value of Gemma's as JSON writes it."""
    if found["mark"]:
        return json.dumps(found["text"])
    return (
        f"{json.dumps(found['bare'])}:"
        if found["key"]
        else {"None": "null"}.get(found["bare"], found["bare"])
    )


_ARGUMENT = re.compile(r'<\|open\|>argument key="([^"<>\n]{0,200}+)" type="(\w{1,20}+)"<\|sep\|>')
_BLOCK = re.compile(r"<\|open\|>json[^<>\n]{0,40}+<\|sep\|>")


def kimi_k3(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Kimi K3's call: typed arguments between marks, or all of them as JSON."""
    name = unescape(opening["name"])
    for _, block in between(inner, _BLOCK, "<|close|>json<|sep|>"):
        return [ToolCall(name, _object(block))]
    found = between(inner, _ARGUMENT, "<|close|>argument<|sep|>")
    return [
        ToolCall(
            name, {unescape(key[1]): value if key[2] == "string" else _exact(value) for key, value in found}
        )
    ]


def mistral(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """Mistral's call: a name and its arguments, or a list in JSON."""
    return named(opening, inner) if opening["name"] and inner.strip() else in_json(opening, inner)


def recipient(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """gpt-oss's call: a message to a tool, in JSON where it says so or goes to a function."""
    if "json" in opening["kind"] or opening["name"].startswith("functions."):
        return named(opening, inner)
    return [_given(opening["name"], inner)]


def _given(name: str, text: str) -> ToolCall:
    """A call with arguments in JSON, or with a text in their place."""
    value = parsed(text) if text else {}
    return ToolCall(name, value if isinstance(value, dict) else {TAGS.get(name.lower(), "arguments"): text})


OBSERVATION = re.compile(r"^[^\S\n]*(?P<mark>Observation(?: ?\d+)?:)", re.MULTILINE)
"""What a reply begins with in ReAct."""

_INPUT = re.compile(r"^[^\S\n]*Action(?: ?\d+)? Input(?: ?\d+)?:", re.MULTILINE)
_STEP = re.compile(r"^[^\S\n]*(?:Thought|Action|Observation|Final Answer)(?: ?\d+)?:", re.MULTILINE)
_BRACKETS = re.compile(r"(\w[\w .-]*)\[(.*)\]")
_FENCE = re.compile(r"```\w*")


def react(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """The first action of a message; what it makes up behind it does nothing."""
    inner = opening["rest"]
    inner = inner[: step.start()] if (step := _STEP.search(inner)) else inner
    if given := _INPUT.search(inner):
        name = inner[: given.start()].strip().strip("`*")
        return [_given(name, inner[given.end() :].strip())] if name and "\n" not in name else []
    if brackets := _BRACKETS.fullmatch(inner.strip().partition("\n")[0].strip()):
        return [_given(brackets[1].strip(), brackets[2].strip())]
    return from_json(_FENCE.sub("", inner))


_HAS_ARGUMENTS = re.compile(r'"(?:arguments|parameters)"\s*:\s*[{"]')


def only_json(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """What is nothing but calls in JSON, each with arguments."""
    text = without_end_of_turn(opening["rest"] or inner).strip()
    return json_row(text) if _HAS_ARGUMENTS.search(text) else []


def only_python(opening: re.Match[str], inner: str) -> list[ToolCall]:
    """What is nothing but a list of calls in Python's syntax."""
    return calls_in_python(without_end_of_turn(opening["rest"]))
