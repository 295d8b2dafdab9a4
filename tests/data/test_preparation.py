from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.data.metrics import normalize
from igpo_gym.data.preparation import Prepared, prepare
from igpo_gym.episode import Question
from igpo_gym.errors import SpecError


def asked(*texts: str) -> list[Question]:
    return [Question(str(number), text, ("x",)) for number, text in enumerate(texts, 1)]


def ids(questions: tuple[Question, ...]) -> list[str]:
    return [question.id for question in questions]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is it 1,000 dollars?", "Is it 1000 dollars?"),
        ("Who sent the e-mail?", "Who sent the email?"),
        ("Who led AT&T?", "Who led ATT?"),
        ("Who wrote Poland’s “The Tin Drum”?", 'who wrote Poland\'s "The Tin Drum"'),
        ("谁写了铁皮鼓？", "谁写了铁皮鼓"),
    ],
)
def test_texts_in_the_same_words_are_one_question(one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        made = prepare(asked(first, "Where?"), tests={"a": asked(second)})
        assert ids(made.train) == ["2"]
        assert ids(prepare(asked(first, second)).train) == ["1"]


def test_what_tests_ask_is_left_out_exactly_and_normalized() -> None:
    questions = asked("Who wrote it?", "who wrote  The It", "Where?", "When?", "when", "Cafe\u0301?")
    tests = {"a": asked("Where? "), "b": asked("Who wrote it?", "Café")}
    made = prepare(questions, tests=tests)
    assert ids(made.train) == ["4"]
    assert made.dropped == {
        "asked by b": ("1",),
        "asked by b, once normalized": ("2", "6"),
        "asked by a": ("3",),
        "asked before in this set": ("5",),
    }


def test_what_tests_ask_with_other_signs_is_left_out() -> None:
    told = ("Who wrote Poland’s “The Tin Drum”?", "谁写了铁皮鼓？", "The years 1939–1945", "¿Quién…?")
    test = asked('Who wrote Poland\'s "The Tin Drum"?', "谁写了铁皮鼓?", "the years 1939-1945", "Quién...?")
    made = prepare(asked(*told, "Who wrote Dog Years?"), tests={"t": test})
    assert made.dropped == {"asked by t, once normalized": ("1", "2", "3", "4")}
    assert ids(prepare(asked("Poland’s port?", "Poland's port?", "谁？")).train) == ["1", "3"]


def test_difficulty_keeps_what_is_solved_at_times() -> None:
    questions = asked("a1?", "b1?", "c1?", "d1?", "e1?")
    attempts = {"1": [True, True], "2": [True, False, True], "3": [False], "5": [False, True]}
    made = prepare(questions, solved=attempts)
    assert ids(made.train) == ["2", "5"]
    assert made.dropped == {
        "always solved in the rollouts": ("1",),
        "never solved in the rollouts": ("3",),
        "not in the rollouts": ("4",),
    }


def test_signs_within_words_put_no_question_on_another_side() -> None:
    texts = [f"Is it the Spider-Man’s no. {n}-{n}?" for n in range(40)]
    held = ids(prepare(asked(*texts), validation_size=0.5).validation)
    normal = [f"is it spiderman’s no {n}{n}" for n in range(40)]
    assert held == [str(n) for n, text in enumerate(normal, 1) if rank(0, text) < 2**63]


def rank(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{text}".encode(), digest_size=8).digest(), "big")


texts = st.lists(st.integers(0, 10**6).map(lambda n: f"What is number{n}?"), min_size=3, unique=True)


@given(texts, st.integers(0, 5), st.sampled_from([0, 0.2, 0.9, 1, 2]))
def test_the_split_is_by_hash_and_loses_nothing(texts: list[str], seed: int, validation: float) -> None:
    questions = asked(*texts)
    try:
        made = prepare(questions, validation_size=validation, seed=seed)
    except SpecError:
        assert 0 < validation < 1
        assert all(rank(seed, normalize(text)) < validation * 2**64 for text in texts)
        return
    assert sorted(ids(made.train) + ids(made.validation)) == sorted(question.id for question in questions)
    ranks = {question.id: rank(seed, normalize(question.text)) for question in questions}
    if validation < 1:
        assert all((ranks[id_] < validation * 2**64) == (id_ in ids(made.validation)) for id_ in ranks)
    else:
        assert ids(made.validation) == [
            id_ for id_ in ranks if id_ in sorted(ranks, key=ranks.__getitem__)[: int(validation)]
        ]
    # A share stays where it is when the file shrinks.
    half = prepare(
        questions[: len(questions) // 2 + 1] + asked("another one here?"), validation_size=0.2, seed=seed
    )
    whole = prepare([*questions, *asked("another one here?")], validation_size=0.2, seed=seed)
    assert {q.text for q in half.validation} <= {q.text for q in whole.validation}


def test_what_cannot_be_prepared_is_told() -> None:
    with pytest.raises(SpecError, match="protected questions are for tests alone"):
        prepare([Question("1", "Who?", ("x",), protected=True)])
    with pytest.raises(SpecError, match=r"no question is left to train on: 0 for validation; 1 asked by t"):
        prepare(asked("Who?"), tests={"t": asked("Who?")})
    with pytest.raises(SpecError, match="a share or a number of questions, not -1"):
        prepare(asked("Who?"), validation_size=-1)
    assert prepare(asked("Who?")) == Prepared(tuple(asked("Who?")), ())
