from pathlib import Path

import pytest

from igpo_gym.data.inspection import inspect
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage, Question

QUESTIONS = (
    Question("1", "Where is the port?", ("Danzig",), ("p1",), 2, "a"),
    Question("2", "where is the port", ("Danzig", "danzig"), (), None, "a"),
    Question("3", "Which letter?", ("A",), ("p1", "p9", "p2"), 2, "b"),
    Question("4", "Is Günter Grass a writer or a sculptor?", ("Grass", "yes"), (), 10),
    Question("5", "Why?", (" ".join(["word"] * 21),)),
    Question("6", "How many?", tuple(f"alias {n}" for n in range(51))),
    Question("7", "Which interval?\x07", ("[1, 2]",)),
    Question("8", "Who?", ("unanswerable", "cannot be answered", "unknown")),
    Question("9", "Is it so?", ("yes",)),
)
SET = QuestionSet("mine", QUESTIONS, (Passage("p1", "", "x"), Passage("p2", "", "y")), left_out=4)


def test_a_set_in_numbers() -> None:
    found = inspect(SET, examples=1)
    assert (found.questions, found.passages, found.with_evidence, found.left_out) == (9, 2, 2, 4)
    assert found.sources == {"a": 2, "b": 1, "unnamed": 6}
    assert found.hops == {"2": 2, "10": 1, "unknown": 6}
    assert list(found.hops) == ["2", "10", "unknown"]
    assert found.answers == (1.0, 1.0, 51.0)
    assert found.answer_words == (1.0, 1.0, 21.0)
    assert found.evidence == (1.0, 2.0, 3.0)
    (example,) = found.examples
    assert (example.id, example.question, example.answers) == ("1", "Where is the port?", ("Danzig",))


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("asked several times", ("1", "2")),
        ("empty normal form", ("3",)),
        ("more than 20 words", ("5",)),
        ("more than 50 answers", ("6",)),
        ("stands in the question", ("4",)),
        ("looks like a list", ("7",)),
        ("equal once normalized", ("2",)),
        ("control characters", ("7",)),
        ("cannot be answered", ("8",)),
        ("none of the set's passages", ("3",)),
    ],
)
def test_what_is_odd_is_told_with_its_ids(words: str, ids: tuple[str, ...]) -> None:
    (odd,) = [each for each in inspect(SET).odd if words in each.what]
    assert (odd.questions, odd.ids) == (len(ids), ids)


def test_nothing_is_odd_in_a_plain_set(tmp_path: Path) -> None:
    assert inspect(QuestionSet("plain", QUESTIONS[:1])).odd == ()


def test_protected_questions_show_no_text() -> None:
    secret = Question("1", "Which port is meant?", ("Danzig",), ("doc-7",), protected=True)
    found = inspect(QuestionSet("bc", (secret,)))
    assert found.protected == 1
    told = repr(found)
    assert not any(text in told for text in ("Danzig", "port", "doc-7"))
