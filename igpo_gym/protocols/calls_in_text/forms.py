"""The table of forms, and the calls that a text holds in one of them."""

from __future__ import annotations

import re

from igpo_gym.episode import ToolCall
from igpo_gym.protocols.calls_in_text.form import CallForm, Reader
from igpo_gym.protocols.calls_in_text.readers import (
    FUNCTION,
    action_start,
    by_name,
    gemma,
    in_json,
    in_python,
    invoke,
    kimi_k3,
    mistral,
    named,
    only_json,
    only_python,
    pairs,
    python_tag,
    react,
    recipient,
    rows,
    tool_call,
    tool_code,
)


def _form(name: str, opening: str, closing: str, read: Reader, sign: str = "") -> CallForm:
    """A form, of which the opening itself is the sign where no other is given."""
    return CallForm(
        name, re.compile(sign or opening, re.MULTILINE), re.compile(opening, re.MULTILINE), closing, read
    )


_PYTHON = r"\s*\[\s*[A-Za-z_][\w.]*\(\s*(?:[A-Za-z_]\w*\s*=|\))"
"""How a list of calls in Python's syntax begins: a first call whose argument has a name, or that has none."""

FORMS = (
    _form("Hermes", "<tool_call>", "</tool_call>", tool_call),
    FUNCTION,
    _form(
        "Kimi K2",
        r"<\|tool_call_begin\|>\s*+(?P<id>(?P<name>[^<>\s]+?)(?::\d+)?)\s*+<\|tool_call_argument_begin\|>",
        "<|tool_call_end|>",
        named,
        sign=r"<\|tool_call",
    ),
    _form(
        "Kimi K3",
        r'<\|open\|>call tool="(?P<name>[^"<>\n]{1,200}+)"[^<>\n]{0,40}+<\|sep\|>',
        "<|close|>call<|sep|>",
        kimi_k3,
        sign=r"<\|open\|>(?:tools|call)",
    ),
    _form(
        "DeepSeek V3",
        r"<｜tool▁call▁begin｜>\w+<｜tool▁sep｜>(?P<name>[^<`\n]+)\n```(?:json)?",
        "<｜tool▁call▁end｜>",
        named,
        sign="<｜tool▁call",
    ),
    _form(
        "DeepSeek V3.1",
        r"<｜tool▁call▁begin｜>(?P<name>[^<\n]+)<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        named,
        sign="<｜tool▁call",
    ),
    _form("Nemotron", "<TOOLCALL>", "</TOOLCALL>", in_json),
    _form("Hunyuan, Jamba and MiniMax M1", "<tool_calls>", "</tool_calls>", rows),
    _form("Cohere", r"<\|START_ACTION\|>", "<|END_ACTION|>", in_json),
    _form("Granite 3 and Phi-4-mini", r"<\|tool_call\|>|\bfunctools(?=\[\s*\{)", "", in_json),
    _form("Granite 20B", "<function_call>", "", in_json),
    _form("GigaChat", r"<\|function_call\|>|\bfunction call<\|role_sep\|>", "", in_json),
    _form("LongCat", "<longcat_tool_call>", "</longcat_tool_call>", in_json),
    _form("Apertus", r"<\|tools_prefix\|>", "<|tools_suffix|>", by_name),
    _form(
        "InternLM",
        r"<\|action_start\|>\s*+<\|(?P<to>plugin|interpreter)\|>",
        "<|action_end|>",
        action_start,
        sign=r"<\|action_start\|>",
    ),
    _form("LFM2", r"<\|tool_call_start\|>", "<|tool_call_end|>", in_python),
    _form("OLMo 3", "<function_calls>", "</function_calls>", in_python),
    _form("Llama 4", r"<\|python_start\|>", "", in_python),
    _form("Llama", r"<\|python_tag\|>", "", python_tag),
    _form("Gemma 3", r"```tool_code\n", "```", tool_code),
    _form(
        "Gemma 4", r"<\|tool_call>call:(?P<name>[\w.-]+)(?=\{)", "<tool_call|>", gemma, sign=r"<\|tool_call>"
    ),
    _form(
        "FunctionGemma",
        r"<start_function_call>call:(?P<name>[\w.-]+)(?=\{)",
        "<end_function_call>",
        gemma,
        sign="<start_function_call>",
    ),
    _form(
        "Mistral",
        r"\[TOOL_CALLS\]\s*+(?:(?P<name>[\w.-]+)\s*+(?:\[CALL_ID\]\s*+(?P<id>\w++)\s*+)?(?:\[ARGS\])?)?",
        "",
        mistral,
        sign=r"\[TOOL_CALLS\]",
    ),
    _form(
        "gpt-oss",
        r"\bto=(?!assistant\b|user\b)(?P<name>[\w.-]{1,200}+)"
        r"(?P<kind>[^<\n]{0,40}+(?:<\|(?:channel|constrain)\|>[^<\n]{0,40}+){0,3}+)<\|message\|>",
        "<|call|>",
        recipient,
        sign=r"<\|channel\|>",
    ),
    _form(
        "invoke",
        r"<(?P<prefix>｜DSML｜|\w{1,20}:|)invoke\s+name=\"(?P<name>[^\"<>\n]{1,200}+)\"\s*>",
        r"</\g<prefix>invoke>",
        invoke,
        sign=r"<(?:｜DSML｜|\w{1,20}:)?invoke\s",
    ),
    _form(
        "MiniCPM5",
        r'<function\s+name="(?P<name>[^"<>\n]{1,200}+)"\s*>',
        "</function>",
        pairs(r'<param\s+name="([^"<>\n]{1,200}+)"\s*>', "</param>"),
        sign=r"<function\s+name=",
    ),
    _form(
        "Solar",
        r"<\|tool_call:start\|>(?P<name>[\w.:/-]+)",
        "<|tool_call:end|>",
        pairs(r"<\|tool_arg:start\|>([^<>\n]{1,200}+)<\|tool_arg:value\|>", "<|tool_arg:end|>"),
        sign=r"<\|tool_call:start\|>",
    ),
    _form(
        "ReAct",
        r"^[^\S\n]*Action(?: ?\d+)?:(?P<rest>[\s\S]*)",
        "",
        react,
        sign=r"^[^\S\n]*Action(?: ?\d+)?:",
    ),
    _form("a fence", r"```(?:json)?\n(?P<rest>)(?=\s*[\[{])", "```", only_json, sign="(?!)"),
    _form("JSON alone", r"\A(?P<rest>\s*[{\[][\s\S]*)", "", only_json, sign="(?!)"),
    _form(
        "Python alone",
        rf"\A(?P<rest>{_PYTHON}[\s\S]*)",
        "",
        only_python,
        sign=rf"\A{_PYTHON}",
    ),
)
"""All forms. Where a text opens two at one place, the first is tried first."""


def _read(text: str) -> tuple[CallForm, list[ToolCall]] | None:
    """The form that a text opens first of those in which it holds calls, and the calls."""
    openings = [(form.opening.search(text), form) for form in FORMS]
    opened = [(found.start(), form) for found, form in openings if found]
    for _, form in sorted(opened, key=lambda each: each[0]):
        if calls := form.calls(text):
            return form, calls
    return None


def calls_in(text: str) -> list[ToolCall]:
    """The calls in a text, in the form that it opens first of those in which there are some.

    Raises ValueError, with the form, for a call that is malformed.

    >>> calls_in('So: <tool_call>{"name": "search", "arguments": {"query": "[TOOL_CALLS]"}}</tool_call>')
    [ToolCall(tool='search', arguments={'query': '[TOOL_CALLS]'})]
    >>> calls_in('[TOOL_CALLS]search[ARGS]{"query": "Dan')
    Traceback (most recent call last):
    ValueError: a call in the form of Mistral cannot be read: the arguments are no JSON object
    """
    found = _read(text)
    return found[1] if found else []


def ids_in(text: str) -> tuple[str, ...]:
    """The id of each of those calls, to which replies may refer; none where not each has one of its own.

    >>> ids_in('<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "search", "parameters": {}}]')
    ('0',)
    """
    found = _read(text)
    ids = tuple(found[0].ids(text)) if found else ()
    return ids if found and all(ids) and len(set(ids)) == len(found[1]) else ()


def begins_call(text: str) -> bool:
    """Whether a call was begun in a text, in any form.

    >>> begins_call("I look: <|tool_calls_section_begin|>"), begins_call("It is < 5.")
    (True, False)
    """
    return any(form.sign.search(text) for form in FORMS)
