"""MLQA's exact match and F1 (Lewis et al., 2020, arXiv 1910.07475), as its evaluation script has them.

>>> mlqa_exact_match("«París»", ["el París"], language="es")
1.0
>>> round(mlqa_f1("北京市", ["北京"], language="zh"), 3)
0.8
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import partial

from igpo_gym.data.metrics import best, equal, word_f1
from igpo_gym.errors import choose

ARTICLES = {
    "en": re.compile(r"\b(a|an|the)\b"),
    "es": re.compile(r"\b(un|una|unos|unas|el|la|los|las)\b"),
    "hi": None,
    "vi": re.compile(r"\b(của|là|cái|chiếc|những)\b"),
    "de": re.compile(r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b"),
    "ar": re.compile("ال"),  # the script's other branch, "\sال^", matches nothing
    "zh": None,
}
"""What is taken out of an answer, by its language; None: the language has no articles."""

_CHINESE = re.compile(r"([\u4e00-\u9fa5])")


def check_language(language: str) -> None:
    """Raise SpecError for a language that the script does not have.

    >>> check_language("fr")
    Traceback (most recent call last):
    igpo_gym.errors.SpecError: unknown language 'fr'; choose one of: ar, de, en, es, hi, vi, zh
    """
    choose(ARTICLES, language, "language")


def mlqa_normalize(text: str, language: str = "en") -> str:
    """Lower case, without Unicode's punctuation and the language's articles; in Chinese a sign is a word.

    Raises SpecError for a language that the script does not have.

    >>> mlqa_normalize("“The River” – Thames"), mlqa_normalize("在北京。", "zh")
    ('river thames', '在 北 京')
    """
    articles = choose(ARTICLES, language, "language")
    text = "".join(sign for sign in text.lower() if not _is_punctuation(sign))
    if articles is not None:
        text = articles.sub(" ", text)
    if language == "zh":
        text = _CHINESE.sub(r" \1 ", text)
    return " ".join(text.split())


def mlqa_exact_match(prediction: str | None, answers: Sequence[str], language: str = "en") -> float:
    """1 where the normalized prediction is a normalized answer, else 0."""
    return best(equal, partial(mlqa_normalize, language=language), prediction, answers)


def mlqa_f1(prediction: str | None, answers: Sequence[str], language: str = "en") -> float:
    """F1 over the multiset of normalized words, in [0, 1]; 0 where no word is left."""
    return best(word_f1, partial(mlqa_normalize, language=language), prediction, answers)


def _is_punctuation(sign: str) -> bool:
    # The script adds string.punctuation, which holds symbols such as "$" too.
    return sign in string.punctuation or unicodedata.category(sign).startswith("P")
