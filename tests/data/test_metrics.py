import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.data.metrics import cover_exact_match, exact_match, f1, igpo_f1, normalize

Metric = Callable[[str | None, Sequence[str]], float]
METRICS = [exact_match, f1, cover_exact_match, igpo_f1]

pieces = st.sampled_from(
    ["a", "The", "an", "tin", "Drum", "yes", "no", "noanswer", "Grass", "U.S.", "-", ",", "ÜBER"]
)
sentences = st.lists(st.tuples(pieces, st.sampled_from([" ", "", "  ", "\n"])), max_size=8).map(
    lambda parts: "".join(piece + gap for piece, gap in parts)
)
strings = st.one_of(sentences, st.text(max_size=30))
golds = strings.filter(str.strip)


def published_normalize(text: str) -> str:
    """The rules of SQuAD's and HotpotQA's evaluation scripts, a step each."""
    text = text.lower()
    text = "".join(character for character in text if character not in set(string.punctuation))
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split())


def published_f1(prediction: str, gold: str) -> float:
    """The rules of HotpotQA's script: special answers, then the multiset of words."""
    predicted, wanted = published_normalize(prediction), published_normalize(gold)
    if predicted in ["yes", "no", "noanswer"] and predicted != wanted:
        return 0.0
    if wanted in ["yes", "no", "noanswer"] and predicted != wanted:
        return 0.0
    shared = 0
    left = wanted.split()
    for word in predicted.split():
        if word in left:
            left.remove(word)
            shared += 1
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted.split()), shared / len(wanted.split())
    return 2 * precision * recall / (precision + recall)


def published_igpo_f1(prediction: str, gold: str) -> float:
    """The rules of IGPO's code: punctuation to spaces, sets of words."""
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


@given(strings)
def test_normalize_follows_the_published_rules(text: str) -> None:
    assert normalize(text) == published_normalize(text)


@given(strings, golds)
def test_scores_follow_the_published_rules(prediction: str, gold: str) -> None:
    assert exact_match(prediction, [gold]) == (published_normalize(prediction) == published_normalize(gold))
    assert f1(prediction, [gold]) == pytest.approx(published_f1(prediction, gold))
    assert igpo_f1(prediction, [gold]) == pytest.approx(published_igpo_f1(prediction, gold))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Beatles' album, a classic!", "beatles album classic"),
        ("U.S.A.", "usa"),
        ("Spider-Man", "spiderman"),
        ("Theatre an sich", "theatre sich"),
        ("“curly” quotes", "“curly” quotes"),
        ("the-a", "thea"),
        (" a an the ", ""),
        ("ÜBER", "über"),
    ],
)
def test_normalize(text: str, normal: str) -> None:
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("metric", "prediction", "answers", "score"),
    [
        (exact_match, "the Tin Drum.", ["Tin drum"], 1),
        (exact_match, "Tin Drums", ["Tin drum"], 0),
        (exact_match, "Danzig", ["Gdańsk", "danzig"], 1),
        (exact_match, "", ["The"], 1),
        (f1, "Günter Wilhelm Grass", ["Günter Grass"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        (f1, "tin tin drum", ["tin drum"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        (f1, "Paris", ["Berlin", "Paris, France"], 2 / 3),
        (f1, "yes", ["yes"], 1),
        (f1, "yes it is", ["yes"], 0),
        (f1, "no", ["no one"], 0),
        (f1, "noanswer", ["noanswer here"], 0),
        (f1, "yes sir", ["yes madam"], 1 / 2),
        (f1, "", ["The"], 0),
        (cover_exact_match, "It was Günter Grass, born 1927.", ["Günter Grass"], 1),
        (cover_exact_match, "Grass, Günter", ["Günter Grass"], 0),
        (cover_exact_match, "he went north", ["no"], 0),
        (cover_exact_match, "anything", ["The"], 0),
        (cover_exact_match, "a", ["The"], 1),
        (igpo_f1, "the tin tin drum", ["tin drum"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        (igpo_f1, "Spider-Man", ["spider man"], 1),
        (igpo_f1, "yes it is", ["yes"], 1 / 2),
        (igpo_f1, "...", ["drum"], 0),
    ],
)
def test_by_hand(metric: Metric, prediction: str, answers: list[str], score: float) -> None:
    assert metric(prediction, answers) == pytest.approx(score)


@pytest.mark.parametrize("metric", METRICS)
def test_no_prediction_scores_nothing(metric: Metric) -> None:
    assert metric(None, ["The"]) == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_one_string_is_not_a_list_of_answers(metric: Metric) -> None:
    with pytest.raises(TypeError, match="found one string"):
        metric("tin", "tin drum")


@pytest.mark.parametrize("metric", METRICS)
@given(prediction=strings, answers=st.lists(golds, min_size=1, max_size=4))
def test_the_best_alias_counts(metric: Metric, prediction: str, answers: list[str]) -> None:
    score = metric(prediction, answers)
    assert 0.0 <= score <= 1.0
    assert score == max(metric(prediction, [answer]) for answer in answers)


@given(golds, golds)
def test_symmetry(left: str, right: str) -> None:
    for metric in (exact_match, f1, igpo_f1):
        assert metric(left, [right]) == metric(right, [left])


@given(strings, golds)
def test_an_exact_match_has_full_f1_and_is_covered(prediction: str, gold: str) -> None:
    if exact_match(prediction, [gold]):
        assert cover_exact_match(prediction, [gold]) == 1.0
        assert f1(prediction, [gold]) == (1.0 if normalize(gold) else 0.0)


@given(st.lists(pieces, min_size=1).map(" ".join), golds)
def test_f1_does_not_mind_the_order_of_words(prediction: str, gold: str) -> None:
    reordered = " ".join(sorted(normalize(prediction).split()))
    if Counter(reordered.split()) == Counter(normalize(prediction).split()):
        assert f1(prediction, [gold]) == f1(reordered, [gold])
