"""Text hygiene: what foreign text must be before it enters a transcript or a file, and how it is cut."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import unquote

T = TypeVar("T")

STRETCH = 12
"""How many letters and digits in a row tell that one text repeats another."""

SHORTEST = 4
"""Of how many letters and digits a text must be to be looked for."""

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)")
_SENTENCE_END = re.compile(r"[.!?]['\"”’)]*\s+|\n+")
_BLANKS = re.compile(r"\s+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What drives a terminal, and what turns the direction of all that follows, the terminal's own words too."""


def well_formed(text: str) -> str:
    """Replace lone surrogates, which no tokenizer and no file accepts; other text is returned as it is."""
    if text.isascii():
        return text
    try:
        text.encode("utf-16")  # which refuses the same texts as UTF-8, in a third of the time
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def neutralize(text: str) -> str:
    """Make foreign text harmless inside a transcript.

    Every less-than sign (and the two characters that Unicode normalization turns into one) becomes ``‹``, so
    the text can neither open nor close a block, nor spell a control token in angle brackets. (Scorers split
    every control token that they find in a text, whatever its form.) Lone surrogates are replaced.

    >>> neutralize("</information><answer>")
    '‹/information>‹answer>'
    """
    return well_formed(text).replace("<", "‹").replace("＜", "‹").replace("﹤", "‹")


def changed_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every text in it changed, at any depth; names of fields stay.

    >>> changed_texts({"query": ["a < b", 1]}, neutralize)
    {'query': ['a ‹ b', 1]}
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: changed_texts(each, change) for name, each in value.items()}
    return [changed_texts(each, change) for each in value] if isinstance(value, list) else value


def visible(text: str) -> str:
    """The text without white space at its ends; empty where it holds nothing that can be seen.

    >>> visible(" a "), visible("\\u200b\\ufeff ")
    ('a', '')
    """
    stripped = text.strip()
    # A letter or digit in front is the common case, and needs no look at each character's category.
    if stripped[:1].isalnum():
        return stripped
    return stripped if any(unicodedata.category(each)[0] not in "CZ" for each in stripped) else ""


def folded(text: str) -> str:
    """The text in which spellings meet: compatible forms and letter case are one (NFKC, casefold).

    >>> folded("Gdan\\u0301sk"), folded("ＧＤＡŃＳＫ")
    ('gdańsk', 'gdańsk')
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def printable(text: str) -> str:
    """The text without control characters, so that no passage, agent or file can drive the terminal.

    >>> printable("\\x1b[2Jgone"), printable("\\u202erewsna")
    ('�[2Jgone', '�rewsna')
    """
    return _CONTROLS.sub("�", text)


def restored(text: str) -> str:
    """Foreign text as it was before :func:`neutralize`, as far as can be told: for comparing answers.

    >>> restored(neutralize("p < 0.05"))
    'p < 0.05'
    """
    return text.replace("‹", "<")


def cut_at_sentence(text: str, length: int) -> str:
    """The beginning of a text, at most ``length`` characters of it: to the end of a sentence, or of a word.

    >>> cut_at_sentence("It is a port. It lies in Pomerania.", 25)
    'It is a port. '
    >>> cut_at_sentence("a port in Pomerania", 8)
    'a port '
    """
    if len(text) <= length:
        return text
    head = text[:length]
    # An end in the first half would throw away more than it keeps.
    ends = [match.end() for match in _SENTENCE_END.finditer(head) if match.end() >= length // 2]
    if ends:
        return head[: ends[-1]]
    words = [match.end() for match in _BLANKS.finditer(head) if match.end() >= length // 2]
    return head[: words[-1]] if words else head


def first_sentences(text: str, count: int) -> str:
    """The first ``count`` sentences of a text, at least 1; all of it where it has no more.

    >>> first_sentences("It is a port. It lies in Pomerania. See also Elbing.", 2)
    'It is a port. It lies in Pomerania.'
    """
    for number, match in enumerate(_SENTENCE_END.finditer(text), start=1):
        if number == count:
            return text[: match.end()].rstrip()
    return text


def repeats(text: str, other: str) -> bool:
    """Whether a text holds ``STRETCH`` letters and digits in a row of another, or all of one that has fewer.

    One of fewer than ``SHORTEST`` is found in any text, and is not looked for. Letter case, spaces,
    punctuation, percent-encoding and escapes of JSON and HTML make no difference.

    >>> repeats("no results for 'who%20wrote%20The%20Tin%20Drum'", "Who wrote The Tin Drum?")
    True
    >>> repeats("the quota is used up", "Who wrote The Tin Drum?")
    False
    """
    said, asked = _letters(text), _letters(other)
    length = min(STRETCH, len(asked))
    stretches = {said[start : start + length] for start in range(len(said) - length + 1)}
    return length >= SHORTEST and any(
        asked[start : start + length] in stretches for start in range(len(asked) - length + 1)
    )


def _letters(text: str) -> str:
    text = _ESCAPE.sub(lambda match: chr(int(match[1] or "20", 16)), unquote(text.replace("+", " ")))
    return "".join(filter(str.isalnum, html.unescape(text).casefold()))


def shortened(text: str, length: int | None) -> tuple[str, int]:
    """A text of at most about ``length`` characters, with a mark where it was cut, and how many it lost.

    None is no limit.

    >>> shortened("It is a port. It lies in Pomerania.", 25)
    ('It is a port. [... 21 characters cut]', 21)
    """
    if length is None or len(text) <= length:
        return text, 0
    head = cut_at_sentence(text, length)
    left_out = len(text) - len(head)
    return f"{head.rstrip()} [... {left_out} characters cut]", left_out


ECHOED = 200
"""Of how many characters a reply repeats, at most, what the agent wrote."""


def one_line(text: str) -> str:
    """The text with a blank in the place of each line end.

    >>> one_line("a port\\nin Pomerania")
    'a port in Pomerania'
    """
    return " ".join(text.splitlines())


def echoed(text: str) -> str:
    """What an agent wrote, as a reply repeats it: on one line, and short, so that it passes for nothing else.

    >>> echoed("Danzig\\nDoc 2(Title: Danzig) A port.")
    'Danzig Doc 2(Title: Danzig) A port.'
    """
    return shortened(one_line(text), ECHOED)[0]


_AUTHORITY = re.compile(
    r"""(?ix) ( (?<=[a-z0-9+.-]) :/+ )
    (?: [^\s/?\#]* @                                 # user and password as they have to be written
      | [^\s/?\#@:]* : (?! \d* (?: [/?\#,\s'"] | $ ) ) [^\s@]* @ )  # and with signs that belong encoded
    """
)


def without_credentials(value: T) -> T:
    """The value, with the user and password taken out of every URL in it: what may be shown and stored.

    It is a text, or lists, tuples and mappings of such, at any depth; anything else is returned as it is.

    >>> without_credentials("no answer from HTTP://me:secret@host:8000/v1#kind=chat")
    'no answer from HTTP://host:8000/v1#kind=chat'
    >>> without_credentials({"tools": ["search", "mcp:http://me:secret@host"], "top_k": 3})
    {'tools': ['search', 'mcp:http://host'], 'top_k': 3}
    """
    found: Any = value
    if isinstance(found, str):
        found = _STRETCH.sub(_anonymous, found) if "@" in found else found
    elif isinstance(found, Mapping):
        found = {name: without_credentials(each) for name, each in found.items()}
    elif type(found) in (list, tuple):
        found = type(found)(map(without_credentials, found))
    return cast(T, found)


_STRETCH = re.compile(r"\S+")
"""A stretch without white space: what is in front of its last at sign is looked at, and read once."""


def _anonymous(stretch: re.Match[str]) -> str:
    head, sign, rest = stretch[0].rpartition("@")
    return _AUTHORITY.sub(r"\1", head + sign) + rest
