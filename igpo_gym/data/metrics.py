"""Answer metrics: a prediction against the gold answers, the best of which counts; no prediction scores 0.

>>> exact_match("The Tin Drum!", ["tin drum"])
1.0
>>> round(f1("Günter Wilhelm Grass", ["Günter Grass", "Grass"]), 3)
0.8
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_PUNCTUATION = string.punctuation
_without_punctuation = str.maketrans("", "", _PUNCTUATION)
_punctuation_to_spaces = str.maketrans(_PUNCTUATION, " " * len(_PUNCTUATION))
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, words one space apart.

    As the evaluation scripts of SQuAD and HotpotQA do.

    >>> normalize("The  Beatles' album, a classic")
    'beatles album classic'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_without_punctuation)).split())


def exact_match(prediction: str | None, answers: Sequence[str]) -> float:
    """1 where the normalized prediction is a normalized answer, else 0."""
    return _best(lambda predicted, gold: float(predicted == gold), normalize, prediction, answers)


def f1(prediction: str | None, answers: Sequence[str]) -> float:
    """The harmonic mean of precision and recall over the multiset of normalized words, in [0, 1].

    HotpotQA's rule: where either side is "yes", "no" or "noanswer", only equality scores. Where a side has
    no words left the score is 0, as in HotpotQA's script, even if both have none.
    """
    return _best(_f1, normalize, prediction, answers)


def cover_exact_match(prediction: str | None, answers: Sequence[str]) -> float:
    """1 where a normalized answer stands in the normalized prediction as a run of whole words, else 0.

    An answer of which normalizing leaves nothing is in an empty prediction alone.
    """
    return _best(_covers, normalize, prediction, answers)


def igpo_f1(prediction: str | None, answers: Sequence[str]) -> float:
    """F1 as the code of IGPO (arXiv 2510.14967) has it, in [0, 1]: over SETS of words, articles kept.

    Punctuation becomes spaces, so "Spider-Man" is two words here and one in :func:`f1`.
    """
    return _best(_set_f1, _igpo_normalize, prediction, answers)


def _best(
    score: Callable[[str, str], float],
    prepare: Callable[[str], str],
    prediction: str | None,
    answers: Sequence[str],
) -> float:
    if isinstance(answers, str):
        raise TypeError("answers must be a sequence of strings, found one string")
    if prediction is None:
        return 0.0
    predicted = prepare(prediction)
    return max(score(predicted, prepare(answer)) for answer in answers)


def _f1(predicted: str, gold: str) -> float:
    if predicted != gold and not _CLOSED_ANSWERS.isdisjoint((predicted, gold)):
        return 0.0
    words, gold_words = predicted.split(), gold.split()
    common = (Counter(words) & Counter(gold_words)).total()
    return _harmonic(common, len(words), len(gold_words))


def _set_f1(predicted: str, gold: str) -> float:
    words, gold_words = set(predicted.split()), set(gold.split())
    return _harmonic(len(words & gold_words), len(words), len(gold_words))


def _harmonic(common: int, predicted: int, gold: int) -> float:
    # 2PR / (P + R) with P = common / predicted and R = common / gold.
    return 2 * common / (predicted + gold) if common else 0.0


def _covers(predicted: str, gold: str) -> float:
    return float(f" {gold} " in f" {predicted} ") if gold else float(not predicted)


def _igpo_normalize(text: str) -> str:
    return text.lower().translate(_punctuation_to_spaces)
