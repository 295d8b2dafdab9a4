"""Replies that show one numbered list of passages, the form of Search-R1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count

from igpo_gym.episode import Passage, distinct
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
    lists = [result for _, result in results if not (result.failed or result.text)]
    passages = distinct(tuple([found for result in lists for found in result.passages]))
    texts, cut = _texts(passages, shown, limits)
    lines = [
        f"Doc {rank}(Title: {passage.title}) {text}"
        for rank, passage, text in zip(count(1), passages, texts, strict=False)
    ]
    body = "\n".join(lines)
    if body.count("(Title:") > len(lines):  # a document may hold what looks like the next one
        body = "\n".join([_FORGED.sub(" ", line) for line in lines])
    if lists and not passages:
        body = "No passage was found."
    if len(lists) < len(results):
        words = words_of(results)
        body = "\n".join([body, *words] if body else words)
    text, more = shortened(body, limits.reply_chars)
    return neutralize(text), cut + more


def _texts(passages: Sequence[Passage], shown: frozenset[str], limits: ReplyLimits) -> tuple[list[str], int]:
    """What a reply shows of each passage, and how many characters it leaves out of all of them."""
    texts = [passage.text for passage in passages]
    if limits.passage_chars is not None and max(map(len, texts), default=0) > limits.passage_chars:
        pairs = [shortened(text, limits.passage_chars) for text in texts]
        texts = [text for text, _ in pairs]
    else:
        pairs = []
    if not limits.repeat_passages:
        known = [passage.id in shown for passage in passages]
        texts = ["was shown before." if old else text for text, old in zip(texts, known, strict=True)]
        pairs = [pair for pair, old in zip(pairs, known, strict=False) if not old]
    return texts, sum([cut for _, cut in pairs])
