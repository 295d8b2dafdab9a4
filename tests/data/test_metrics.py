import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.data.metrics import (
    cover_exact_match,
    exact_match,
    f1,
    igpo_f1,
    normalize,
    squad_exact_match,
    squad_f1,
    squad_normalize,
    strict_match,
    strict_normalize,
)
from igpo_gym.data.mlqa import ARTICLES, mlqa_exact_match, mlqa_f1
from tests.data import published

Score = Callable[[str | None, Sequence[str]], float]
SCORES = [
    *(exact_match, f1, cover_exact_match, strict_match, igpo_f1),
    *(squad_exact_match, squad_f1, mlqa_exact_match, mlqa_f1),
]

pieces = st.sampled_from(
    [
        *("a", "The", "an", "tin", "Drum", "yes", "no", "noanswer", "Grass", "U.S.", "-", ",", "ÜBER"),
        *("!!!", "“", "”", "–", "。", "،", "北京", "市", "der", "la", "của", "الكتاب", "3.14", "1,000", "$5"),
        *("e\u0301", "é", "İ"),
    ]
)
sentences = st.lists(st.tuples(pieces, st.sampled_from([" ", "", "  ", "\n"])), max_size=8).map(
    lambda parts: "".join(piece + gap for piece, gap in parts)
)
strings = st.one_of(sentences, st.text(max_size=30))
golds = strings.filter(str.strip)


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


@given(strings)
def test_normalize_follows_the_published_rules(text: str) -> None:
    assert squad_normalize(text) == published.squad_words(text)
    assert normalize(text) == published.squad_words(nfc(text))


@given(strings, golds)
def test_the_scripts_to_the_letter(prediction: str, gold: str) -> None:
    assert squad_exact_match(prediction, [gold]) == published.squad1_em(prediction, gold)
    assert squad_f1(prediction, [gold]) == pytest.approx(published.squad1_f1(prediction, gold))
    assert igpo_f1(prediction, [gold]) == pytest.approx(published.igpo_f1(prediction, gold))
    for language in ARTICLES:
        em, overlap = (
            published.mlqa_em(prediction, gold, language),
            published.mlqa_f1(prediction, gold, language),
        )
        assert mlqa_exact_match(prediction, [gold], language) == em
        assert mlqa_f1(prediction, [gold], language) == pytest.approx(overlap)


@given(strings, golds)
def test_hotpotqa_s_rules_hold_in_nfc_where_a_word_is_left(prediction: str, gold: str) -> None:
    predicted, wanted = nfc(prediction), nfc(gold)
    if published.squad_words(predicted) or published.squad_words(wanted):
        assert exact_match(prediction, [gold]) == published.squad1_em(predicted, wanted)
        assert f1(prediction, [gold]) == pytest.approx(published.hotpotqa_f1(predicted, wanted))
    else:
        same = predicted.split() == wanted.split()
        assert exact_match(prediction, [gold]) == cover_exact_match(prediction, [gold]) * same == same
        assert f1(prediction, [gold]) == 1.0 if same else f1(prediction, [gold]) < 1.0


@given(golds)
def test_an_answer_is_right_whatever_it_is_made_of(gold: str) -> None:
    for metric in (exact_match, f1, cover_exact_match, strict_match):
        assert metric(gold, [gold]) == 1.0
        assert metric(unicodedata.normalize("NFD", gold), [nfc(gold)]) == 1.0


@given(golds)
def test_an_answer_of_articles_or_marks_is_right_by_squad_2_too(gold: str) -> None:
    if not published.squad_words(gold):
        assert published.squad2_f1(gold, gold) == f1(gold, [gold]) == 1.0


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
        ("U\u0308BER", "über"),
    ],
)
def test_normalize(text: str, normal: str) -> None:
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("3.14", "3.14"),
        ("the 3.14.", "3.14"),
        ("1,000-2,000", "1,000-2,000"),
        ("v.2", "v2"),
        ("2.x", "2x"),
        ("3..14", "314"),
        ("-3", "3"),
        ("U.S. 50", "us 50"),
    ],
)
def test_strict_normalize_keeps_marks_between_two_digits_alone(text: str, normal: str) -> None:
    assert strict_normalize(text) == normal


@pytest.mark.parametrize(
    ("metric", "prediction", "answers", "score"),
    [
        (exact_match, "the Tin Drum.", ["Tin drum"], 1),
        (exact_match, "Tin Drums", ["Tin drum"], 0),
        (exact_match, "Danzig", ["Gdańsk", "danzig"], 1),
        (exact_match, "", ["The"], 0),
        (exact_match, "A", ["A"], 1),
        (exact_match, "...", ["A"], 0),
        (exact_match, "!!!", ["The"], 0),
        (exact_match, "Gdan\u0301sk", ["Gda\u0144sk"], 1),
        (exact_match, "3.14", ["314"], 1),
        (exact_match, "“Paris”", ["Paris"], 0),
        (strict_match, "3.14", ["314"], 0),
        (strict_match, "3.14.", ["3.14"], 1),
        (strict_match, "The The", ["The The"], 1),
        (f1, "Günter Wilhelm Grass", ["Günter Grass"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        (f1, "tin tin drum", ["tin drum"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        (f1, "Paris", ["Berlin", "Paris, France"], 2 / 3),
        (f1, "yes", ["yes"], 1),
        (f1, "yes it is", ["yes"], 0),
        (f1, "no", ["no one"], 0),
        (f1, "noanswer", ["noanswer here"], 0),
        (f1, "yes sir", ["yes madam"], 1 / 2),
        (f1, "", ["The"], 0),
        (f1, "A", ["A"], 1),
        (f1, "The The", ["The The"], 1),
        (f1, "!!!", ["!!!"], 1),
        (f1, "!!!", ["The"], 0),
        (f1, "A dog", ["A"], 0),
        (cover_exact_match, "It was Günter Grass, born 1927.", ["Günter Grass"], 1),
        (cover_exact_match, "Grass, Günter", ["Günter Grass"], 0),
        (cover_exact_match, "he went north", ["no"], 0),
        (cover_exact_match, "anything", ["The"], 0),
        (cover_exact_match, "a", ["The"], 0),
        (cover_exact_match, "The", ["The"], 1),
        (squad_exact_match, "!!!", ["The"], 1),
        (squad_f1, "A", ["A"], 0),
        (squad_f1, "yes it is", ["yes"], 1 / 2),
        (igpo_f1, "the tin tin drum", ["tin drum"], 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        (igpo_f1, "Spider-Man", ["spider man"], 1),
        (igpo_f1, "yes it is", ["yes"], 1 / 2),
        (igpo_f1, "...", ["drum"], 0),
        (mlqa_exact_match, "“Paris”", ["Paris"], 1),
        (mlqa_exact_match, "1914–1918", ["19141918"], 1),
        (mlqa_exact_match, "北京。", ["北京"], 1),
        (mlqa_exact_match, "القاهرة،", ["القاهرة"], 1),
        (mlqa_f1, "der Fluss", ["Fluss"], 2 / 3),
    ],
)
def test_by_hand(metric: Score, prediction: str, answers: list[str], score: float) -> None:
    assert metric(prediction, answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("language", "prediction", "gold", "score"),
    [
        ("de", "der Fluss", "Fluss", 1),
        ("es", "el río", "río", 1),
        ("vi", "của Hà Nội", "Hà Nội", 1),
        ("ar", "الكتاب", "كتاب", 1),
        ("hi", "दिल्ली।", "दिल्ली", 1),
        ("zh", "北京市", "北京", 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("zh", "iPhone手机", "iPhone 手机", 1),
        ("en", "北京市", "北京", 0),
    ],
)
def test_mlqa_by_hand(language: str, prediction: str, gold: str, score: float) -> None:
    assert mlqa_f1(prediction, [gold], language) == pytest.approx(score)


@pytest.mark.parametrize("metric", SCORES)
def test_no_prediction_scores_nothing(metric: Score) -> None:
    assert metric(None, ["The"]) == 0.0


@pytest.mark.parametrize("metric", SCORES)
def test_one_string_is_not_a_list_of_answers(metric: Score) -> None:
    with pytest.raises(TypeError, match="found one string"):
        metric("tin", "tin drum")


@pytest.mark.parametrize("metric", SCORES)
@given(prediction=strings, answers=st.lists(golds, min_size=1, max_size=4))
def test_the_best_alias_counts(metric: Score, prediction: str, answers: list[str]) -> None:
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
        assert cover_exact_match(prediction, [gold]) == f1(prediction, [gold]) == 1.0
    if strict_match(prediction, [gold]):
        assert exact_match(prediction, [gold]) == 1.0


@given(st.lists(pieces, min_size=1).map(" ".join), golds)
def test_f1_does_not_mind_the_order_of_words(prediction: str, gold: str) -> None:
    words = normalize(prediction).split()
    reordered = " ".join(sorted(words))
    if words and Counter(normalize(reordered).split()) == Counter(words):
        assert f1(prediction, [gold]) == f1(reordered, [gold])
