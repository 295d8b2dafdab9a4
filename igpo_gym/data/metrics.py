"""Answer metrics: a prediction against the gold answers, the best of which counts; no prediction scores 0.

The rules are those of published scripts, see docs/metrics.md; :mod:`igpo_gym.data.scores` has them by name.

>>> exact_match("The Tin Drum!", ["tin drum"])
1.0
>>> round(f1("Günter Wilhelm Grass", ["Günter Grass", "Grass"]), 3)
0.8
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

_PUNCTUATION = string.punctuation
_without_punctuation = str.maketrans("", "", _PUNCTUATION)
_punctuation_to_spaces = str.maketrans(_PUNCTUATION, " " * len(_PUNCTUATION))
_PUNCTUATION_NOT_IN_NUMBERS = re.compile(
    rf"(?<!\d)[{re.escape(_PUNCTUATION)}]|[{re.escape(_PUNCTUATION)}](?!\d)"
)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})

Score = Callable[[str | None, Sequence[str]], float]
"""A prediction (None: there is none) and the gold answers, to a number."""


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, words one space apart; NFC.

    As the evaluation scripts of SQuAD and HotpotQA do with a text in NFC.

    >>> normalize("The  Beatles' album, a classic")
    'beatles album classic'
    """
    return squad_normalize(unicodedata.normalize("NFC", text))


def squad_normalize(text: str) -> str:
    """``normalize_answer`` of the scripts of SQuAD 1.1 and HotpotQA, to the letter.

    >>> squad_normalize("U.S.A., the")
    'usa'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_without_punctuation)).split())


def strict_normalize(text: str) -> str:
    """As :func:`normalize`, but punctuation between two digits stays.

    >>> strict_normalize("The 3.14."), strict_normalize("U.S. 1,000-2,000!")
    ('3.14', 'us 1,000-2,000')
    """
    plain = unicodedata.normalize("NFC", text).lower()
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION_NOT_IN_NUMBERS.sub("", plain)).split())


def exact_match(prediction: str | None, answers: Sequence[str]) -> float:
    """1 where the normalized prediction is a normalized answer, else 0.

    Two texts of which normalizing leaves nothing ("A", "!!!") are compared as written.

    >>> exact_match("A", ["A"]), exact_match("...", ["A"])
    (1.0, 0.0)
    """
    return best(equal, _normal, prediction, answers)


def strict_match(prediction: str | None, answers: Sequence[str]) -> float:
    """As :func:`exact_match`, but punctuation between two digits counts.

    >>> strict_match("3.14", ["314"]), exact_match("3.14", ["314"])
    (0.0, 1.0)
    """
    return best(equal, _or_as_written(strict_normalize), prediction, answers)


def f1(prediction: str | None, answers: Sequence[str]) -> float:
    """The harmonic mean of precision and recall over the multiset of normalized words, in [0, 1].

    HotpotQA's rule: where either side is "yes", "no" or "noanswer", only equality scores. Two texts of which
    normalizing leaves nothing are compared as written, so that F1 is 1 wherever the exact match is.

    >>> f1("yes, it is", ["yes"]), f1("A", ["A"])
    (0.0, 1.0)
    """
    return best(_hotpotqa_f1, _normal, prediction, answers)


def cover_exact_match(prediction: str | None, answers: Sequence[str]) -> float:
    """1 where a normalized answer stands in the normalized prediction as a run of whole words, else 0.

    An answer of which normalizing leaves nothing is in a prediction that is written as it is.

    >>> cover_exact_match("It was Günter Grass, born 1927.", ["Günter Grass"])
    1.0
    """
    return best(_covers, _normal, prediction, answers)


def squad_exact_match(prediction: str | None, answers: Sequence[str]) -> float:
    """``exact_match_score`` of SQuAD 1.1's script, to the letter.

    >>> squad_exact_match("!!!", ["The"])
    1.0
    """
    return best(equal, squad_normalize, prediction, answers)


def squad_f1(prediction: str | None, answers: Sequence[str]) -> float:
    """``f1_score`` of SQuAD 1.1's script, to the letter; 0 where no word is left, whatever was written.

    >>> squad_f1("yes, it is", ["yes"]), squad_f1("A", ["A"])
    (0.5, 0.0)
    """
    return best(word_f1, squad_normalize, prediction, answers)


def igpo_f1(prediction: str | None, answers: Sequence[str]) -> float:
    """F1 as the code of IGPO (arXiv 2510.14967) has it, in [0, 1]: over SETS of words, articles kept.

    Punctuation becomes spaces, so "Spider-Man" is two words here and one in :func:`f1`.

    >>> igpo_f1("the tin tin drum", ["tin drum"])
    0.8
    """
    return best(_set_f1, _igpo_normalize, prediction, answers)


def best(
    score: Callable[[str, str], float],
    prepare: Callable[[str], str],
    prediction: str | None,
    answers: Sequence[str],
) -> float:
    """The best ``score(prediction, answer)`` of the prepared texts; 0 without a prediction.

    Raises TypeError for answers that are one string, and ValueError where there is none.
    """
    if isinstance(answers, str):
        raise TypeError("answers must be a sequence of strings, found one string")
    if prediction is None:
        return 0.0
    predicted = prepare(prediction)
    return max([score(predicted, prepare(answer)) for answer in answers])


def word_f1(predicted: str, gold: str) -> float:
    """F1 of two prepared texts over multisets of words; 0 where they share none.

    >>> word_f1("tin tin drum", "tin drum")
    0.8
    """
    words, gold_words = predicted.split(), gold.split()
    left: dict[str, int] = {}
    for word in gold_words:
        left[word] = left.get(word, 0) + 1
    common = 0
    for word in words:
        if left.get(word, 0):
            left[word] -= 1
            common += 1
    return _harmonic(common, len(words), len(gold_words))


def equal(predicted: str, gold: str) -> float:
    """1 for two equal texts, else 0.

    >>> equal("tin drum", "tin drum")
    1.0
    """
    return float(predicted == gold)


def _or_as_written(prepare: Callable[[str], str]) -> Callable[[str], str]:
    """``prepare``, but a text of which it leaves nothing stays as it was written, in NFC.

    Such a text holds only articles and punctuation, which no prepared text has, so that it is never taken for
    one.
    """
    return lambda text: prepare(text) or " ".join(unicodedata.normalize("NFC", text).split())


_normal = lru_cache(maxsize=4096)(_or_as_written(normalize))
"""Kept, for an answer is asked about by several metrics, and by a reward and by ``info``."""


def _hotpotqa_f1(predicted: str, gold: str) -> float:
    if predicted == gold:
        return 1.0
    return word_f1(predicted, gold) if _CLOSED_ANSWERS.isdisjoint((predicted, gold)) else 0.0


def _set_f1(predicted: str, gold: str) -> float:
    words, gold_words = set(predicted.split()), set(gold.split())
    return _harmonic(len(words & gold_words), len(words), len(gold_words))


def _harmonic(common: int, predicted: int, gold: int) -> float:
    # 2PR / (P + R) with P = common / predicted and R = common / gold.
    return 2 * common / (predicted + gold) if common else 0.0


def _covers(predicted: str, gold: str) -> float:
    return float(f" {gold} " in f" {predicted} ")


def _igpo_normalize(text: str) -> str:
    return text.lower().translate(_punctuation_to_spaces)
