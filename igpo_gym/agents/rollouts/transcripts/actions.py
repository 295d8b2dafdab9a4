"""What an agent's message does, in the ways in which agents of many projects write calls and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from igpo_gym.episode import Action, Answer, Invalid, ToolCall, ToolCalls
from igpo_gym.protocols.between import between
from igpo_gym.protocols.blocks import attributes
from igpo_gym.protocols.calls_in_text import TAGS, begins_call, calls_in
from igpo_gym.protocols.grammar import check_values, without_end_of_turn

FINAL = frozenset(
    ("answer", "final_answer", "submit", "submit_answer", "submit_final_answer", "finish", "give_answer")
)
"""The tools whose call is the answer."""

_TEXT = re.compile(r"\\(?:text\w*|mathrm|mathbf)\{([^{}]*)\}")
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_FINAL_ANSWER = re.compile(r"^[^\S\n]*Final Answer:(.*)", re.MULTILINE | re.DOTALL)
_TOLD = re.compile(
    r"<\|channel\|>final\b[^\n]{0,80}?<\|message\|>|<\|START_(?:RESPONSE|TEXT)\|>|<\|open\|>response<\|sep\|>"
)
_TOLD_END = re.compile(r"<\|END_(?:RESPONSE|TEXT)\|>|<\|close\|>response<\|sep\|>")
"""What opens and closes the part of a message that is for the user: in gpt-oss, Cohere's and Kimi K3."""
_THOUGHTS = (
    (re.compile("<(think)>"), "</think>"),
    (re.compile(r"\[THINK\]"), "[/THINK]"),
    (re.compile("<seed:think>"), "</seed:think>"),
    (re.compile(r"<\|START_THINKING\|>"), "<|END_THINKING|>"),
    (re.compile(r"<\|channel>thought\b"), "<channel|>"),
    (re.compile(r"<\|open\|>think<\|sep\|>"), "<|close|>think<|sep|>"),
)
"""What opens and closes a thought: in most models, in Mistral's, Seed-OSS, Cohere's, Gemma 4 and Kimi K3."""
_ANALYSIS = (re.compile(r"<\|channel\|>analysis<\|message\|>"), "<|end|>")
"""gpt-oss's thoughts, whose end is that of other parts too."""
_UNFINISHED = re.compile(
    "|".join(
        (rf"<(?:think|tool_call|{'|'.join(TAGS)})[\s>]", *(opening.pattern for opening, _ in _THOUGHTS[1:]))
    )
)


def action(
    message: str, calls: Sequence[ToolCall] = (), plain_answers: bool = False, called: str = ""
) -> Action:
    """What a message does. ``calls`` are those that a library handed over beside its text, and ``called`` is
    a tool of which it is known that it was called by its tag.

    What stands in a thought that was closed does nothing. Calls go before answers, an answer being between
    ``<answer>`` tags, in ``\\boxed{}``, behind ReAct's ``Final Answer:``, or the argument of a final tool;
    with ``plain_answers`` a message without any of these is an answer as a whole, unless it breaks off in a
    thought or a call.

    >>> action('<tool_call>{"name": "web_search", "arguments": {"query": ["Danzig"]}}</tool_call>')
    ToolCalls(calls=(ToolCall(tool='web_search', arguments={'query': ['Danzig']}),))
    >>> action("<think>So it is.</think> It is \\\\boxed{Danzig}.")
    Answer(text='Danzig')
    >>> action("", [ToolCall("submit", {"answer": "Danzig"})])
    Answer(text='Danzig')
    """
    said = without_thoughts(message)
    try:
        found = list(calls) or calls_in(said) or tagged_calls(said, called)
        for each in found:
            check_values(each.arguments)  # as an environment does, which records are those of
    except ValueError as problem:
        return Invalid(str(problem))
    if found:
        final = next((call for call in found if call.tool.lower() in FINAL), None)
        text = "" if final is None else _argument(final)
        return Answer(text) if text else ToolCalls(tuple(found))
    text = answer(said) or _behind_mark(said)
    last = _TOLD.split(said)[-1]
    broken_off = begins_call(last) or _UNFINISHED.search(last)
    if not text and plain_answers and not broken_off:
        text = without_end_of_turn(_TOLD_END.split(last)[0]).strip()
    if text:
        return Answer(text)
    return Invalid(f"no call and no answer is {'closed' if broken_off else 'found'} in the message")


def _behind_mark(text: str) -> str:
    """What stands behind ReAct's ``Final Answer:``; empty where that is not written."""
    found = _FINAL_ANSWER.search(text)
    return without_end_of_turn(found[1]).strip() if found else ""


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
    said = message
    for opening, closing in _THOUGHTS:
        first, sign, rest = said.partition(closing)
        said = rest if sign and not opening.search(first) else said
    for opening, closing in (*_THOUGHTS, _ANALYSIS):
        kept, place = list[str](), 0
        for found, inner in between(said, opening, closing):
            kept.append(said[place : found.start()])
            place = found.end() + len(inner) + len(closing)
        said = "".join(kept) + said[place:]
    return said


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
    return [tagged_call(*each) for each in between(text, tag_pattern((*TAGS, called))) if each[1].strip()]


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


def _argument(final: ToolCall) -> str:
    """The answer among a final tool's arguments: that of its name, else the first text, else a number."""
    named = [final.arguments[key] for key in ("answer", "final_answer", "result") if key in final.arguments]
    others = sorted(final.arguments.values(), key=lambda value: not isinstance(value, str))
    values = [value for value in (*named, *others) if isinstance(value, str | int | float)]
    return next((text for value in values if (text := str(value).strip())), "")
