"""Replies that show one numbered list of passages, the form of Search-R1."""

from __future__ import annotations

import re

from igpo_gym.episode import Passage
from igpo_gym.protocols.protocol import ReplyLimits, Results, words_of
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
    passages: dict[str, Passage] = {}
    searched = 0
    for _, result in results:
        if not (result.failed or result.text):
            searched += 1
            for found in result.passages:
                for passage in found:
                    passages[passage.id] = passage
    lines, cut, longest, known = [], 0, limits.passage_chars, () if limits.repeat_passages else shown
    for rank, passage in enumerate(passages.values(), 1):
        text, more = passage.text, 0
        if passage.id in known:
            text = "was shown before."
        elif longest is not None and len(text) > longest:
            text, more = shortened(text, longest)
        lines.append(f"Doc {rank}(Title: {passage.title}) {text}")
        cut += more
    body = "\n".join(lines)
    if body.count("(Title:") > len(lines):  # a document may hold what looks like the next one
        body = "\n".join([_FORGED.sub(" ", line) for line in lines])
    if searched and not passages:
        body = "No passage was found."
    if searched < len(results):
        words = words_of(results)
        body = "\n".join([body, *words] if body else words)
    text, more = shortened(body, limits.reply_chars)
    return neutralize(text), cut + more
