"""Replies that show one numbered list of passages, the form of Search-R1."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from igpo_gym.episode import Passage
from igpo_gym.protocols.cutting import cut_to_fit
from igpo_gym.protocols.protocol import ReplyLimits, Results, unavailable
from igpo_gym.text import neutralize, one_line, shortened

_HEAD = re.compile(r"(Doc \d+\(Title: ?)")
"""How a document begins."""
_BEFORE = "was shown before."


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
        body, cut = _cut(list(passages.values()), known, words, limits.passage_chars, limits.reply_chars)
    return neutralize(body), cut


def _cut(
    passages: Sequence[Passage], known: Collection[str], words: Sequence[str], longest: int | None, limit: int
) -> tuple[str, int]:
    """The body with its longest texts and titles cut, so that all that counts as found is shown in part.

    Where the limit is too small for one character of each, the body ends where it says.
    """
    own = [_BEFORE if passage.id in known else passage.text for passage in passages]
    texts = [*(passage.title for passage in passages), *own, *words]
    most = [None if passage.id in known else longest for passage in passages]
    bare, _ = _lines([Passage("", "", "") for _ in passages], (), None)
    room = limit - len("\n".join([*bare, *("" for _ in words)]))
    shown = cut_to_fit(texts, [*(None for _ in passages), *most, *(None for _ in words)], room)
    cut = [text for text, _ in shown]
    count = len(passages)
    titled = zip(cut, cut[count:], passages, strict=False)
    lines, _ = _lines([Passage(passage.id, title, text) for title, text, passage in titled], (), None)
    return "\n".join([*lines, *cut[2 * count :]])[:limit], sum(lost for _, lost in shown)


def _lines(passages: Iterable[Passage], known: Collection[str], longest: int | None) -> tuple[list[str], int]:
    """A line for each passage, and how many characters their texts lack."""
    lines, cut = [], 0
    for rank, passage in enumerate(passages, 1):
        text = passage.text
        if passage.id in known:
            text = _BEFORE
        elif longest is not None and len(text) > longest:
            text, more = shortened(text, longest)
            cut += more
        lines.append(f"Doc {rank}(Title: {passage.title}) {text}")
    if "\n".join(lines).count("(Title:") > len(lines):  # one may hold what looks like the next
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
