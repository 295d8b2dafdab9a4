"""A form of calls: its marks, and where a call ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from igpo_gym.episode import ToolCall
from igpo_gym.protocols.calls_in_text.values import ids_in_json, json_end
from igpo_gym.protocols.grammar import without_end_of_turn

Reader: TypeAlias = Callable[[re.Match[str], str], Sequence[ToolCall]]
"""From an opening and what follows it to calls: none where it is no call at all. Raises ValueError for a call
that is malformed."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """A form of calls: what opens and closes one, and how what stands between is read.

    >>> from igpo_gym.protocols.calls_in_text import FORMS
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
    """The text up to where the call itself, or its arguments, begin. Its groups ``name`` and ``id`` are those
    of the call, where they stand there."""
    closing: str
    """A template for the opening's groups; empty where the next opening, or the end of the text, closes a
    call."""
    read: Reader

    def calls(self, text: str) -> list[ToolCall]:
        """The calls of this form in a text. Raises ValueError where one of them cannot be read."""
        found = list[ToolCall]()
        for opening, inner in self._stretches(text):
            try:
                found += self.read(opening, inner)
            except ValueError as problem:
                raise ValueError(f"a call in the form of {self.name} cannot be read: {problem}") from None
        return found

    def ids(self, text: str) -> list[str]:
        """The id of each of those calls; an empty one where none is written."""
        found = list[str]()
        for opening, inner in self._stretches(text):
            told = opening.groupdict()
            found += [told.get("id") or ""] if told.get("name") else ids_in_json(inner)
        return found

    def _stretches(self, text: str) -> Iterator[tuple[re.Match[str], str]]:
        """Each opening and what stands behind it.

        JSON has an end of its own: a closing within a string of it closes nothing, and at the end of the text
        it may be left out, as servers do where sampling stops at it. Any other call that nothing closes is
        passed over.
        """
        missing, place, last = set[str](), 0, len(without_end_of_turn(text).rstrip())
        while opening := self.opening.search(text, place):
            start, whole = opening.end(), json_end(text, opening.end())
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
