import numpy as np
import pyarrow as pa
import pytest

from igpo_gym.data import resolve_questions
from igpo_gym.data.answers import answer_text, answers_of, listed
from igpo_gym.episode import Question
from igpo_gym.errors import SpecError


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (" Paris ", ("Paris",)),
        (["b", "a", "b ", "a"], ("b", "a")),
        (True, ("yes",)),
        (False, ("no",)),
        ([True, 1], ("yes", "1")),
        (0, ("0",)),
        (2.0, ("2",)),
        (0.1, ("0.1",)),
        (1e300, ("1e+300",)),
        (np.array(["a", "b"]), ("a", "b")),
        (np.array(["a", "b"], dtype=object), ("a", "b")),
        (np.array([1.5, 2.0]), ("1.5", "2")),
        (np.int64(7), ("7",)),
        (np.bool_(False), ("no",)),
        (np.str_("a "), ("a",)),
        (pa.array(["a", "b"]), ("a", "b")),
        (pa.scalar("a"), ("a",)),
        ([pa.scalar(3)], ("3",)),
        (np.float32(0.1), ("0.1",)),
        (np.array([0.1, 2.0], dtype=np.float16), ("0.1", "2")),
        (np.array([[0.1]], dtype=np.float32), ("0.1",)),
        (pa.scalar(0.1, pa.float32()), ("0.1",)),
        (pa.array([0.1, 1e-7], pa.float32()), ("0.1", "1e-07")),
        (pa.scalar([("Danzig", 0.1)], pa.map_(pa.string(), pa.float32())), ("Danzig: 0.1",)),
        ({"a": [1, 2], "b": {"c": "d", "e": ["f", {"g": "h"}]}}, ("a: 1, 2; b: (c: d; e: (f, (g: h)))",)),
        ([["a", "b"], "c"], ("a, b", "c")),
        ("[1, 2]", ("[1, 2]",)),
        ("(What's the Story) Morning Glory?", ("(What's the Story) Morning Glory?",)),
        ("['quoted'", ("['quoted'",)),
    ],
)
def test_the_text_forms(value: object, texts: tuple[str, ...]) -> None:
    assert answers_of(value) == texts


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "an empty text"),
        ([" "], "an empty text"),
        ([], "an empty list"),
        ({}, "an empty dict"),
        ([[]], "an empty list"),
        (None, "NoneType"),
        ([None], "NoneType"),
        (float("nan"), "float"),
        ({"a": None}, "NoneType"),
        ("['secret', 'b']", "a list written as text"),
        ('["secret"]', "a list written as text"),
        ("['secret' 'b']", "a list written as text"),
        ("('secret', 'b')", "a list written as text"),
        ("{'secret': 'b'}", "a list written as text"),
        ("array(['secret'], dtype=object)", "a list written as text"),
        (["a", "['secret']"], "a list written as text"),
        (object(), "object"),
    ],
)
def test_what_is_no_answer_is_refused_and_not_shown(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as told:
        answers_of(value)
    assert "secret" not in str(told.value)


def test_deep_nesting_is_an_error_or_a_text() -> None:
    assert not listed("[" * 50_000 + "]" * 50_000)
    assert answer_text("(" * 3000 + ")" * 3000)


def test_questions_of_a_program_get_the_same_care() -> None:
    questions = resolve_questions([Question("1", "Who?", ("Paris ", "Paris", " Lutetia"))])
    assert questions.questions[0].answers == ("Paris", "Lutetia")
    assert questions.name == "1 question"
    made = Question("1", "Who?", np.array(["Paris", "Lutetia"]))  # type: ignore[arg-type]
    assert resolve_questions([made, Question("2", "Who?", ("x",))]).name == "2 questions"
    assert resolve_questions([made]).questions[0].answers == ("Paris", "Lutetia")
    with pytest.raises(SpecError, match="question '7': its answers hold a list written as text"):
        resolve_questions([Question("7", "Who?", ("['secret', 'b']",))])


@pytest.mark.parametrize("answers", ["Paris", None, 3])
def test_answers_that_are_no_tuple_of_texts(answers: object) -> None:
    with pytest.raises(ValueError, match="question '1': answers must be a tuple of texts"):
        Question("1", "Who?", answers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="question '1': one of its answers is no text"):
        Question("1", "Who?", (answers, 3))  # type: ignore[arg-type]
