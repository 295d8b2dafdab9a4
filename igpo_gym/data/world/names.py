"""Invented names, unique by construction: a number is spelled in syllables, and no number twice.

Words are split between the training, validation and test worlds by their syllables, so that the three never
share a name, while a reader trained on one split has met every syllable of the others.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import gcd
from random import Random

FIRST = tuple(
    onset + rime
    for onset, rime in product(
        (
            "B",
            "Br",
            "D",
            "Dr",
            "F",
            "G",
            "H",
            "K",
            "Kr",
            "L",
            "M",
            "N",
            "P",
            "R",
            "S",
            "T",
            "Tr",
            "V",
            "Z",
            "Th",
        ),
        ("al", "er", "in", "ol", "um"),
    )
)
"""The 100 syllables that open a word."""

LATER = tuple(
    onset + rime
    for onset, rime in product(
        ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "j", "h"),
        ("an", "el", "ia", "or", "us"),
    )
)
"""The 80 syllables that go on a word."""

SPLITS = {"train": tuple(range(2, 10)), "validation": (1,), "test": (0,)}
"""The classes of words, modulo 10, that belong to each split."""

_CLASSES = 10


def words_of_length(split: str, syllables: int) -> int:
    """How many words of that many syllables, at least 2, a split has."""
    share = len(LATER) // _CLASSES * len(SPLITS[split])
    middles: int = len(LATER) ** (syllables - 2)
    return len(FIRST) * middles * share


@lru_cache(maxsize=64)
def _scramble(size: int, seed: int) -> tuple[int, int]:
    """Factor and offset of a permutation of ``range(size)``: x -> (factor * x + offset) % size."""
    rng = Random(f"{size}/{seed}")
    factor = rng.randrange(size // 4, size)
    while gcd(factor, size) != 1:
        factor += 1
    return factor, rng.randrange(size)


def word(number: int, split: str, seed: int, long_names: float = 0.0) -> str:
    """The ``number``-th word of a split, in an order that depends on ``seed``. Short words come first.

    A share ``long_names`` of the short ones, of two syllables, is replaced by words of three that no other
    number has.
    """
    short = words_of_length(split, 2)
    if long_names and (number >= short or Random(f"{split}/{seed}/long/{number}").random() < long_names):
        # The words behind the short ones move by their number, which leaves each of them a longer one.
        number += short
    syllables = 2
    while number >= (size := words_of_length(split, syllables)):
        number -= size
        syllables += 1
    factor, offset = _scramble(size, seed)
    number = (factor * number + offset) % size
    number, first = divmod(number, len(FIRST))
    number, residue = divmod(number, len(SPLITS[split]))
    number, tens = divmod(number, len(LATER) // _CLASSES)
    middle = []
    for _ in range(syllables - 2):
        number, syllable = divmod(number, len(LATER))
        middle.append(LATER[syllable])
    # A word's class is (first + last) modulo 10, so the last syllable follows from the class and the first.
    last = _CLASSES * tens + (SPLITS[split][residue] - first) % _CLASSES
    return FIRST[first] + "".join(middle) + LATER[last]
