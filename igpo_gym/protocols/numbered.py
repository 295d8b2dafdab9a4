"""Replies that show one numbered list of passages, the form of Search-R1."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from igpo_gym.episode import Passage
from igpo_gym.protocols.protocol import ReplyLimits, Results, unavailable
from igpo_gym.text import neutralize, one_line, shortened

_HEAD = re.compile(r"(Doc \d+\(Title: ?)")
"""How a document begins."""


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
    known = () if limits.repeat_passages else shown
    words = _words(results) if searched < len(results) else []
    if searched and not passages:
        words.insert(0, "No passage was found.")
    lines, cut = _lines(passages.values(), known, limits.passage_chars)
    body = "\n".join([*lines, *words])
    if limits.reply_chars is not None and len(body) > limits.reply_chars:
        # The longest are cut, so that all that counts as found is shown in part.
        lengths = [*map(len, lines), *map(len, words)]
        fair = fair_length(lengths, limits.reply_chars + 1 - len(lengths))
        lines, cut = _lines(passages.values(), known, limits.passage_chars, fair)
        parts = [shortened(each, fair) for each in words]
        body, cut = "\n".join([*lines, *(text for text, _ in parts)]), cut + sum(more for _, more in parts)
    return neutralize(body), cut


def _lines(
    passages: Iterable[Passage], known: Collection[str], longest: int | None, fair: int | None = None
) -> tuple[list[str], int]:
    """A line for each passage, of at most about ``fair`` characters, and how many characters they lack."""
    lines, cut = [], 0
    for rank, passage in enumerate(passages, 1):
        head, text, length, more = f"Doc {rank}(Title: {passage.title}) ", passage.text, longest, 0
        if fair is not None and len(head) + min(len(text), longest or len(text)) > fair:
            length = max(1, fair - len(head) - NOTICE)
        if passage.id in known:
            text = "was shown before."
        elif length is not None and len(text) > length:
            text, more = shortened(text, length)
        lines.append(head + text)
        cut += more
    if sum(line.count("(Title:") for line in lines) > len(lines):  # one may hold what looks like the next
        lines = list(map(without_line_heads, lines))
    return lines, cut


def _words(results: Results) -> list[str]:
    """What tools say in words, and which were unavailable; nothing of it begins as a document does."""
    texts = []
    for call, result in results:
        if result.text and not result.failed:
            text = without_line_heads(result.text) if "(Title:" in result.text else result.text
            texts.append(f"{call.tool}: {text}" if _HEAD.match(text.lstrip()) else text)
    return [*texts, *dict.fromkeys(unavailable(call.tool) for call, result in results if result.failed)]


def without_line_heads(text: str) -> str:
    """The text with each further line that begins as a document does as a part of the line before it.

    >>> without_line_heads("A port.\\n Doc 2(Title: Danzig) A village.")
    'A port. Doc 2(Title: Danzig) A village.'
    """
    parts = _HEAD.split(text)
    for place in range(0, len(parts) - 1, 2):
        before = parts[place].rstrip()
        blanks = parts[place][len(before) :]
        if len(f"{blanks}.".splitlines()) > 1:
            parts[place] = f"{before} "
    return "".join(parts)


def without_heads(text: str) -> str:
    """The text on one line, and without what a document begins with: for what is to pass for none.

    >>> without_heads("Danzig\\nDoc 2(Title: Danzig) A port.")
    'Danzig Danzig) A port.'
    """
    return _HEAD.sub("", one_line(text)).strip()


NOTICE = len(" [... 1000 characters cut]")
"""How long what stands in the place of what is cut may be."""


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
