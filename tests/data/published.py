"""The rules of published evaluation scripts, each written down step by step and apart from the package."""

from __future__ import annotations

import re
import string
import sys
import unicodedata


def squad_words(text: str) -> str:
    """normalize_answer of SQuAD 1.1, SQuAD 2.0 and HotpotQA."""
    text = text.lower()
    text = "".join(character for character in text if character not in string.punctuation)
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def shared(left: list[str], right: list[str]) -> int:
    """How many tokens two lists have in common, each as often as in both."""
    rest, count = list(right), 0
    for token in left:
        if token in rest:
            rest.remove(token)
            count += 1
    return count


def overlap(predicted: list[str], wanted: list[str]) -> float:
    """The F1 that all of the scripts compute from tokens."""
    common = shared(predicted, wanted)
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def squad1_em(prediction: str, gold: str) -> float:
    return float(squad_words(prediction) == squad_words(gold))


def squad1_f1(prediction: str, gold: str) -> float:
    return overlap(squad_words(prediction).split(), squad_words(gold).split())


def squad2_f1(prediction: str, gold: str) -> float:
    """compute_f1 of SQuAD 2.0: where a side has no token, equality of the two."""
    predicted, wanted = squad_words(prediction).split(), squad_words(gold).split()
    if len(predicted) == 0 or len(wanted) == 0:
        return float(predicted == wanted)
    return overlap(predicted, wanted)


def hotpotqa_f1(prediction: str, gold: str) -> float:
    """f1_score of HotpotQA: special answers, then the multiset of words."""
    predicted, wanted = squad_words(prediction), squad_words(gold)
    if predicted in ["yes", "no", "noanswer"] and predicted != wanted:
        return 0.0
    if wanted in ["yes", "no", "noanswer"] and predicted != wanted:
        return 0.0
    return overlap(predicted.split(), wanted.split())


def igpo_f1(prediction: str, gold: str) -> float:
    """IGPO's code: punctuation to spaces, sets of words."""
    both = []
    for text in (prediction.lower(), gold.lower()):
        for mark in string.punctuation:
            text = text.replace(mark, " ")
        both.append(set(text.split()))
    predicted, wanted = both
    if not predicted & wanted:
        return 0.0
    precision, recall = len(predicted & wanted) / len(predicted), len(predicted & wanted) / len(wanted)
    return 2 * precision * recall / (precision + recall)


MLQA_MARKS = {chr(code) for code in range(sys.maxunicode) if unicodedata.category(chr(code))[0] == "P"} | set(
    string.punctuation
)

MLQA_ARTICLES = {
    "en": "a an the",
    "es": "un una unos unas el la los las",
    "vi": "của là cái chiếc những",
    "de": "ein eine einen einem eines einer der die das den dem des",
}


def mlqa_words(text: str, language: str) -> list[str]:
    """The tokens of normalize_answer of MLQA."""
    text = "".join(character for character in text.lower() if character not in MLQA_MARKS)
    if language in MLQA_ARTICLES:
        text = re.sub(rf"\b({'|'.join(MLQA_ARTICLES[language].split())})\b", " ", text)
    elif language == "ar":
        text = text.replace("ال", " ")
    if language != "zh":
        return text.split()
    tokens, run = [], ""
    for character in text:
        if "\u4e00" <= character <= "\u9fa5":
            tokens += [*run.split(), character]
            run = ""
        else:
            run += character
    return tokens + run.split()


def mlqa_em(prediction: str, gold: str, language: str = "en") -> float:
    return float(mlqa_words(prediction, language) == mlqa_words(gold, language))


def mlqa_f1(prediction: str, gold: str, language: str = "en") -> float:
    return overlap(mlqa_words(prediction, language), mlqa_words(gold, language))
