from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from igpo_gym.episode import Question


@pytest.mark.parametrize(
    ("text", "answers"), [("", ("A",)), ("  ", ("A",)), ("Who?", ()), ("Who?", ("",)), ("Who?", ("A", " "))]
)
def test_a_question_needs_a_text_and_answers(text: str, answers: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="question 'x' has no"):
        Question("x", text, answers)


def test_a_question_of_another_library_has_texts_and_tuples() -> None:
    made = Question(
        np.int64(7),  # type: ignore[arg-type]
        "Who?",
        np.array(["Grass"]),  # type: ignore[arg-type]
        ["Danzig"],  # type: ignore[arg-type]
        np.int64(2),  # type: ignore[arg-type]
    )
    assert made == Question("7", "Who?", ("Grass",), ("Danzig",), 2)
    assert hash(made) == hash(Question("7", "Who?", ("Grass",), ("Danzig",), 2))
    assert json.dumps([made.id, made.hops]) == '["7", 2]'


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"id": ["a"]}, "the id of a question must be a text, not list"),
        ({"id": None}, "the id of a question must be a text, not NoneType"),
        ({"text": 3}, "the text of question 'q' is no text, but int"),
        ({"evidence": "Danzig"}, "evidence must be a tuple of texts, not one text"),
        ({"evidence": (3,)}, "one of its evidence is no text"),
        ({"parts": "Danzig"}, "parts must be a tuple of texts"),
        ({"parts": (1927,)}, "one of its parts is no text"),
        ({"source": None}, "the source of question 'q' is no text, but NoneType"),
        ({"hops": "2"}, "hops must be a whole number or None"),
    ],
)
def test_a_question_with_fields_of_other_types_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Question(**{"id": "q", "text": "Who?", "answers": ("Grass",), **fields})
