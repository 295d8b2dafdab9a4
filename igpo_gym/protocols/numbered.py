"""Replies that show one numbered list of passages, the form of Search-R1."""

from __future__ import annotations

import re
from collections.abc import Sequence

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
    if "\n".join(lines).count("(Title:") > len(lines):  # a document may hold what looks like the next one
        lines = [_FORGED.sub(" ", line) for line in lines]
    if searched and not passages:
        lines = ["No passage was found."]
    if searched < len(results):
        lines += words_of(results)
    body = "\n".join(lines)
    if limits.reply_chars is not None and len(body) > limits.reply_chars:
        # The longest are cut, so that all that counts as found is shown in part.
        fair = fair_length([len(line) for line in lines], limits.reply_chars - len(lines) + 1)
        parts = [shortened(line, fair) for line in lines]
        body, cut = "\n".join(line for line, _ in parts), cut + sum(more for _, more in parts)
    return neutralize(body), cut


def fair_length(lengths: Sequence[int], total: int) -> int:
    """How long each may be so that all fit into a total: what short ones leave is for the long. At least 1.

    >>> fair_length([10, 50, 90], 100), fair_length([10, 20, 90], 100)
    (45, 70)
    """
    for rank, length in enumerate(sorted(lengths)):
        fair = total // (len(lengths) - rank)
        if length > fair:
            return max(1, fair)
        total -= length
    return max(lengths, default=1)
