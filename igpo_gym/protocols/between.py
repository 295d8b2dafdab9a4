"""Stretches of a text between tags, in time that grows as the text does.

A pattern such as ``<a>.*?</a>`` looks for the end from each beginning anew: of a text that opens tags and
closes none it takes the square.
"""

from __future__ import annotations

import re
from collections.abc import Iterator


def between(
    text: str, opening: re.Pattern[str], closing: str = r"</\1>"
) -> Iterator[tuple[re.Match[str], str]]:
    """What stands between each opening and the next closing behind it, one block behind the other.

    ``closing`` is a template for the opening's groups. An opening that nothing closes is passed over.

    >>> text = "<a>1</a> <b>2 <a>3</a> <a>4"
    >>> [(found[1], inner) for found, inner in between(text, re.compile("<(a|b)>"))]
    [('a', '1'), ('a', '3')]
    """
    missing, place = set[str](), 0
    while found := opening.search(text, place):
        mark, place = found.expand(closing), found.end()
        end = -1 if mark in missing else text.find(mark, place)
        if end < 0:
            missing.add(mark)
            continue
        yield found, text[place:end]
        place = end + len(mark)
