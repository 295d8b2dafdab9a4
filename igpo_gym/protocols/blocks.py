"""Grammars of blocks: a thought, then blocks in tags that hold calls, or one that holds the answer.

    <think>who wrote it?</think><search>author of The Tin Drum</search>

How a call is written within a block is a :class:`Form`: the tag names the tool (``TagForm``), or the block
holds JSON (:mod:`igpo_gym.protocols.json_calls`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Protocol

from igpo_gym.episode import Answer, ToolCall, ToolCalls
from igpo_gym.protocols.grammar import (
    LONGEST_NAME,
    THINK,
    THOUGHT,
    Tools,
    after_thought,
    check_count,
    checked_answer,
    checked_call,
    checked_calls,
    spec_named,
)
from igpo_gym.text import neutralize
from igpo_gym.tools.interface import ToolSpec


class Form(Protocol):
    """How calls are written in blocks."""

    def tags(self, tools: Tools) -> tuple[str, ...]:
        """The tags of the blocks that hold calls."""
        ...

    def read(self, tag: str, attributes: str, content: str, tools: Tools) -> Sequence[ToolCall]:
        """The calls of a block. Raises ValueError in words that teach the agent."""
        ...

    def write(self, call: ToolCall, tools: Tools) -> str:
        """The block, or blocks, of a call."""
        ...

    def own_end(self, text: str, start: int) -> int | None:
        """Where the content that begins at ``start`` ends by itself, whatever tags it holds; ``start`` where
        it has no end of its own, and None where it is not complete."""
        ...


@dataclass(frozen=True, slots=True)
class Blocks:
    """A grammar of blocks. What the environment alone writes is refused: ``result_tag``.

    >>> from igpo_gym.tools.searching import SEARCH
    >>> grammar = Blocks(TagForm(), "information")
    >>> grammar.write(grammar.read("<think>where?</think> <search> Danzig </search>", [SEARCH]), [SEARCH])
    '<search>Danzig</search>'
    >>> text = "<think>where?</think><search>Danzig</search>, I think"
    >>> text[: grammar.end(text, [SEARCH], thinking=False)]
    '<think>where?</think><search>Danzig</search>'
    """

    form: Form
    result_tag: str
    answer_tag: str = "answer"

    def read(self, message: str, tools: Tools) -> ToolCalls | Answer:
        """See :class:`~igpo_gym.protocols.grammar.Grammar`. A message is an optional thought, optional text
        without blocks, and either blocks of calls or one answer. ``</think>`` without its opening is allowed,
        since some chat templates open the thought."""
        names = self.form.tags(tools)
        plain = _plain_pattern(names, self.answer_tag).fullmatch(message)
        if plain is None:
            return self._read_any(message, names, tools)
        content = plain[2].strip()
        if plain[1] == self.answer_tag:
            return checked_answer(content)
        return checked_calls(self.form.read(plain[1], "", content, tools))

    def _read_any(self, message: str, names: tuple[str, ...], tools: Tools) -> ToolCalls | Answer:
        """The action of any message; what :meth:`read` does for the plain ones is the same, and faster."""
        blocks = self._blocks(self._without_thought(message, names), names)
        answers = [content for name, _, content in blocks if name == self.answer_tag]
        if answers:
            if len(blocks) > 1:
                raise ValueError("one action a message: call tools or answer, and only one answer")
            return checked_answer(answers[0])
        check_count(len(blocks))
        calls = [
            call
            for name, attributes, content in blocks
            for call in self.form.read(name, attributes, content, tools)
        ]
        return checked_calls(calls)

    def write(self, action: ToolCalls | Answer, tools: Tools) -> str:
        """The blocks of an action. Texts are neutralized, so that they cannot close their own block.

        An answer stands on a line of its own, as in the answer probe: prompt and probe show one form.
        """
        if isinstance(action, Answer):
            return f"<{self.answer_tag}>\n{neutralize(action.text)}\n</{self.answer_tag}>"
        return "".join(self.form.write(call, tools) for call in action.calls)

    def end(self, text: str, tools: Tools, thinking: bool) -> int | None:
        """The end of the first block behind the thought."""
        pattern = _pattern(self.form.tags(tools), self.answer_tag, self.result_tag)
        first = pattern.search(text)
        begins_with_thought = thinking or (first is not None and first[0] == THINK)
        start = after_thought(text, thinking) if begins_with_thought else 0
        opened = False
        while start is not None and (tag := pattern.search(text, start)):
            start = tag.end()
            if not (tag[2] or tag[4] == self.answer_tag):
                continue
            if tag[1]:
                return start
            if tag[2] and not opened:
                start = self.form.own_end(text, start)
            opened = True
        return None

    def stops(self, tools: Tools) -> tuple[str, ...]:
        """The tags that close a block."""
        return tuple(f"</{name}>" for name in (*self.form.tags(tools), self.answer_tag))

    def _without_thought(self, message: str, names: tuple[str, ...]) -> str:
        thought, closing, rest = message.partition(THOUGHT)
        before, opening, _ = thought.partition(THINK)
        if opening and any(f"<{tag}>" in before for tag in (*names, self.answer_tag)):
            raise ValueError("the thought comes before the action")
        if opening and not closing:
            raise ValueError("<think> is never closed with </think>")
        return rest if closing else thought

    def _blocks(self, text: str, names: tuple[str, ...]) -> list[tuple[str, str, str]]:
        """The blocks of a message: tag, attributes and content. ValueError says what is wrong."""
        blocks: list[tuple[str, str, str]] = []
        pattern = _pattern(names, self.answer_tag, self.result_tag)
        open_tag, attributes, start, end, place = "", "", 0, 0, 0
        while tag := pattern.search(text, place):
            closes, name = bool(tag[1]), tag[2] or tag[4]
            place = tag.end()
            if name == self.result_tag:
                raise ValueError(f"only the environment writes {name}; stop after your action")
            if name == "think":
                raise ValueError("only one thought a message, and nothing else stands in it")
            if open_tag and not (closes and name == open_tag):
                break
            if closes and not open_tag:
                raise ValueError(f"</{name}> without <{name}>")
            if closes:
                blocks.append((name, attributes, text[start : tag.start()].strip()))
                open_tag, end = "", place
            elif blocks and text[end : tag.start()].strip():
                raise ValueError("text after the action; stop after your action")
            else:
                open_tag, attributes, start = name, tag[3] or "", place
                if name != self.answer_tag:
                    place = self.form.own_end(text, place) or place
        if open_tag:
            raise ValueError(f"<{open_tag}> is not closed with </{open_tag}> before any other tag")
        if not blocks:
            shown = " or ".join(f"<{name}>" for name in (*names, self.answer_tag))
            raise ValueError(f"no action: the message has no {shown} block")
        if text[end:].strip():
            raise ValueError("text after the action; stop after your action")
        return blocks


@cache
def _plain_pattern(names: tuple[str, ...], answer_tag: str) -> re.Pattern[str]:
    """Matches what most messages are: a thought or none, then one block that holds no sign of a tag."""
    tags = "|".join(map(re.escape, (*names, answer_tag)))
    thought = r"<think>[^<]*+(?:<(?!/think>)[^<]*+)*+</think>"
    return re.compile(rf"[^<]*(?:{thought}[^<]*)?<({tags})>([^<]*)</\1>\s*")


@cache
def _pattern(names: tuple[str, ...], answer_tag: str, result_tag: str) -> re.Pattern[str]:
    """Matches a tag: its slash, the name and the attributes of one that holds a call, or another's name."""
    calls = "|".join(map(re.escape, names)) or "(?!)"
    others = "|".join(re.escape(tag) for tag in (answer_tag, result_tag, "think"))
    return re.compile(rf"<(/?)(?:({calls})(\s[^<>]*)?|({others}))>")


_name = attrgetter("name")


@dataclass(frozen=True, slots=True)
class TagForm:
    """One tag for each tool: its text is the first argument, further ones are attributes.

    >>> from igpo_gym.tools.opening import OPEN
    >>> grammar = Blocks(TagForm(), "information")
    >>> grammar.read('<open page="2">The Tin Drum</open>', [OPEN]).calls[0].arguments
    {'document': 'The Tin Drum', 'page': 2}
    """

    def tags(self, tools: Tools) -> tuple[str, ...]:
        """The tools' names."""
        return tuple(map(_name, tools))

    def read(self, tag: str, attributes: str, content: str, tools: Tools) -> Sequence[ToolCall]:
        """One call."""
        if not content:
            raise ValueError(f"<{tag}> is empty")
        tool = spec_named(tag, tools)
        arguments: dict[str, Any] = {tool.first: _value(content, tool, tool.first)}
        if attributes:
            arguments |= _arguments(tag, attributes, tool)
        return (checked_call(tool, arguments),)

    def write(self, call: ToolCall, tools: Tools) -> str:
        """A block; one for each item where the first argument is a list that may as well be an item alone."""
        tool = spec_named(call.tool, tools)
        others = "".join(
            f' {name}="{_attribute(call.arguments[name])}"'
            for name in tool.parameters["properties"]
            if name != tool.first and name in call.arguments
        )
        first = call.arguments.get(tool.first, "")
        apart = isinstance(first, list) and all(
            tool.problem({**call.arguments, tool.first: item}) is None for item in first
        )
        items = first if apart else [first]
        texts = (neutralize(item if isinstance(item, str) else json.dumps(item)) for item in items)
        return "".join(f"<{call.tool}{others}>{text}</{call.tool}>" for text in texts)

    def own_end(self, text: str, start: int) -> int | None:
        """Tags end at the first closing tag."""
        return start


_ATTRIBUTE = re.compile(r"""\s+([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def attributes(tag: str, text: str) -> Iterator[tuple[str, str]]:
    """The names and values of a tag's attributes. Raises ValueError for a text that is none.

    >>> list(attributes("open", ' page="2"'))
    [('page', '2')]
    """
    place = 0
    while match := _ATTRIBUTE.match(text, place):
        place = match.end()
        value = match[2] if match[2] is not None else match[3]
        yield match[1], _QUOTE.sub(_unescaped, value)
    if text[place:].strip():
        raise ValueError(f'the attributes of <{tag}> cannot be read; write them like page="2"')


def _arguments(tag: str, text: str, tool: ToolSpec) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name, value in attributes(tag, text):
        if name in found or name == tool.first:
            raise ValueError(f"<{tag}> has {name[:LONGEST_NAME]} twice")
        found[name] = _value(value, tool, name)
    return found


def _value(text: str, tool: ToolSpec, name: str) -> Any:
    """A text as the type that the schema asks for, where that is no text."""
    if name not in tool.never_text:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


_QUOTE = re.compile('"|&(amp;)*quot;')
"""A quotation mark, or an escape of one, which is escaped once more: all are told apart, other signs stay."""


def _attribute(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    escaped = _QUOTE.sub(lambda found: "&quot;" if found[0] == '"' else f"&amp;{found[0][1:]}", text)
    return neutralize(escaped).replace(">", "›")


def _unescaped(found: re.Match[str]) -> str:
    return f"&{found[0].removeprefix('&amp;')}" if found[1] else '"'
