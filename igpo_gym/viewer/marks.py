"""Where gold passages and gold answers stand in a text, and which blocks a message is made of."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

from igpo_gym.text import neutralize

Piece: TypeAlias = tuple[str, str]
"""A stretch of a text and its marks: ``g`` (of a gold passage), ``a`` (a gold answer), ``ga`` or nothing."""

_BLOCK = re.compile(r"<(\w+)((?:\s[^<>]*)?)>(.*?)(?:</\1>|\Z)", re.S)
_HEAD = 60
"""How many characters tell where a passage begins in a reply that shows a part of it."""
_TOO_COMMON = frozenset({"yes", "no", "noanswer"})
"""Answers that stand in most texts by chance."""


def marked(text: str, passages: Iterable[str], answers: Sequence[str]) -> list[Piece]:
    """The text in pieces, which joined are the text; passages with the beginning of their line.

    A passage of which a reply shows the first part only is marked as far as it is shown. Answers are whole
    words, in any letter case.

    >>> marked("Doc 1 (Danzig) A port.\\nDoc 2 Odra.", ["A port."], ["danzig"])
    [('Doc 1 (', 'g'), ('Danzig', 'ga'), (') A port.', 'g'), ('\\nDoc 2 Odra.', '')]
    """
    golden = [span for passage in passages if (span := _shown(text, neutralize(passage)))]
    named = [match.span() for match in _answers(answers).finditer(text)] if answers else []
    changes: Counter[tuple[int, str]] = Counter()
    """At each place how many spans of a mark begin, less those that end."""
    for mark, spans in (("g", golden), ("a", named)):
        changes.update((start, mark) for start, _ in spans)
        changes.subtract((end, mark) for _, end in spans)
    ends = sorted({0, len(text), *(place for place, _ in changes)})
    pieces: list[Piece] = []
    depth = {"g": 0, "a": 0}
    for start, stop in pairwise(ends):
        for mark in depth:
            depth[mark] += changes[start, mark]
        pieces.append((text[start:stop], "".join(mark for mark, spans in depth.items() if spans)))
    return pieces


def blocks(message: str) -> list[tuple[str, str]]:
    """A message as pairs of a tag, with its attributes, and a text.

    What stands outside of all tags has the tag ``''``.

    >>> blocks("<think>where?</think> <search>Danzig</search>")
    [('think', 'where?'), ('search', 'Danzig')]
    >>> blocks("No tags.")
    [('', 'No tags.')]
    >>> blocks('<open page="2">Danzig</open>')
    [('open page="2"', 'Danzig')]
    """
    return [(tag, text.strip()) for tag, text in _blocks(message) if tag or text.strip()]


def _blocks(message: str) -> Iterator[tuple[str, str]]:
    end = 0
    for match in _BLOCK.finditer(message):
        yield "", message[end : match.start()]
        yield (match[1] + match[2]).rstrip(), match[3]
        end = match.end()
    yield "", message[end:]


def _shown(text: str, passage: str) -> tuple[int, int] | None:
    """Where a text shows a passage, with the beginning of its line.

    Of several passages that begin alike it is the one that goes on alike for longest.
    """
    passage = passage.strip()
    if not passage or passage[:_HEAD] not in text:
        return None
    shorter = range(len(passage) + 1)
    length = bisect_left(shorter, True, lo=1, key=lambda length: passage[:length] not in text) - 1
    start = text.find(passage[:length])
    return text.rfind("\n", 0, start) + 1, start + length


def _answers(answers: Sequence[str]) -> re.Pattern[str]:
    words = [neutralize(answer).split() for answer in sorted(answers, key=len, reverse=True)]
    told = [r"\s+".join(map(re.escape, each)) for each in words if " ".join(each).lower() not in _TOO_COMMON]
    return re.compile(rf"(?<!\w)(?:{'|'.join(told)})(?!\w)" if told else r"(?!)", re.IGNORECASE)
