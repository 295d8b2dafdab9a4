"""Replies that show one numbered list of passages, the form of Search-R1."""

from __future__ import annotations

import re

from igpo_gym.episode import Passage, distinct
from igpo_gym.protocols.protocol import ReplyLimits, Results, within, words_of
from igpo_gym.text import neutralize, shortened

_FORGED = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+(?=\s*Doc \d+\(Title:)")
"""A line in a document that looks like the next document."""


def numbered(results: Results, shown: frozenset[str], limits: ReplyLimits) -> tuple[str, int]:
    """The passages of all calls without repeats, then what tools say in words.

    >>> from igpo_gym.episode import ToolCall, ToolResult
    >>> found = ToolResult(passages=((Passage("1", "Danzig", "A port."),),))
    >>> numbered([(ToolCall("search", {"query": "port"}), found)], frozenset(), ReplyLimits())
    ('Doc 1(Title: Danzig) A port.', 0)
    """
    lists = [result for _, result in results if not (result.failed or result.text)]
    passages = distinct(tuple(found for result in lists for found in result.passages))
    lines, cut = [], 0
    for rank, passage in enumerate(passages, 1):
        line, left_out = _line(rank, passage, passage.id in shown, limits)
        lines.append(line)
        cut += left_out
    if lists and not passages:
        lines.append("No passage was found.")
    return within("\n".join([*lines, *words_of(results)]), limits, cut)


def _line(rank: int, passage: Passage, shown: bool, limits: ReplyLimits) -> tuple[str, int]:
    if shown and not limits.repeat_passages:
        return neutralize(f"Doc {rank}(Title: {_one(passage.title)}) was shown before."), 0
    text, cut = shortened(passage.text, limits.passage_chars)
    return neutralize(f"Doc {rank}(Title: {_one(passage.title)}) {_one(text)}"), cut


def _one(text: str) -> str:
    """The text of one passage, in which no line looks like that of another."""
    return _FORGED.sub(" ", text)
