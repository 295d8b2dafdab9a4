"""From text to the words that are searched for, in every script.

A word is a run of Unicode letters, digits, underscores and combining marks, folded so that spellings of one
word meet: NFKC and case folding, and the Turkish dotted İ is an i. Format characters that do not show
(joiners, soft hyphens, marks of direction) count as not there.

Scripts that do not part words by blanks (Han, kana, Hangul, Thai, Lao, Khmer, Burmese and their like) give
overlapping pairs of characters instead, where a character is a letter with its marks. A run of one character
is a word of its own. A passage is also indexed under each character alone (:func:`characters`), so that a
query of one character finds every passage that has it; this does not count in the passage's length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise

from igpo_gym.text import folded

_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they
this to was will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""English words that are not indexed: those of Lucene and of bm25s."""

_ascii_words = re.compile(r"\w+", re.ASCII).findall
_plain_words = re.compile(r"\w+").findall
_is_plain = re.compile(
    "[\x00-\xac\xae-\u02ff\u0370-\u0482\u048a-\u0590\u2010-\u2029\u2030-\u205f\u20a0-\u20bf]*"
).fullmatch
"""Latin, Greek, Cyrillic and Armenian text: no marks, nothing unseen, blanks between the words."""

_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\U000e0001-\U000e01ef]"
)
"""Format characters and variation selectors. A zero-width space stays: it stands between words."""

_UNSPACED = (
    "\u0e01-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\uaa80-\uaadf"  # Khmer, four scripts of Tai languages
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3041-\u31bf\u31f0-\u31ff"  # kana, bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001aff0-\U0001b16f\U00020000-\U0003ffff"  # Han, rare kana
)
_unspaced = re.compile(f"[{_UNSPACED}]")


def words(text: str) -> list[str]:
    """The words of a query, or those that count in a passage, in their order.

    >>> words("Grass's 1959 novel")
    ['grass', 's', '1959', 'novel']
    >>> words("İstanbul, 北京是首都 2008")
    ['istanbul', '北京', '京是', '是首', '首都', '2008']
    """
    return _ascii_words(text.lower()) if text.isascii() else analyzed(text)[0]


def characters(text: str) -> list[str]:
    """The single characters of a passage that are words too: those of runs that :func:`words` gives in pairs.

    >>> characters("北京 2008 京"), characters("Danzig")
    (['北', '京'], [])
    """
    return analyzed(text)[1]


def analyzed(text: str) -> tuple[list[str], list[str]]:
    """The :func:`words` and the :func:`characters` of a passage."""
    if text.isascii():
        return _ascii_words(text.lower()), []
    words_folded = _folded(_plain_words(text) if _is_plain(text) else _all_words(text))
    if not _unspaced.search(words_folded):
        return words_folded.split(), []
    runs = list(_runs(words_folded))
    found = [word for run in runs for word in (run if len(run) == 1 else map("".join, pairwise(run)))]
    return found, [character for run in runs if len(run) > 1 for character in run]


def _all_words(text: str) -> list[str]:
    return _marked_words()(_UNSEEN.sub("", text))


def _folded(found: list[str]) -> str:
    """Words, folded, with blanks between them: parted before, so that folding makes no word more."""
    return folded(" ".join(found)).replace("i\u0307", "i")


def _runs(words_folded: str) -> Iterator[list[str]]:
    """Each spaced word as a list of itself, each run of an unspaced script as the list of its characters."""
    for word in words_folded.split():
        for unspaced, spaced in _parts()(word):
            if not unspaced:
                yield [spaced]
            else:
                yield list(unspaced) if unspaced.isalpha() else _characters()(unspaced)


@cache
def _marked_words() -> Callable[[str], list[str]]:
    return re.compile(rf"\w[\w{_marks()}]*").findall


@cache
def _parts() -> Callable[[str], list[tuple[str, str]]]:
    marked = f"{_UNSPACED}{_marks()}"
    return re.compile(f"([{_UNSPACED}][{marked}]*)|([^{_UNSPACED}]+)").findall


@cache
def _characters() -> Callable[[str], list[str]]:
    return re.compile(f".[{_marks()}]*", re.DOTALL).findall


@cache
def _marks() -> str:
    """The combining marks, as the inside of a regular expression's brackets."""
    return "".join(
        character for code in range(0x20000) if unicodedata.category(character := chr(code))[0] == "M"
    )
