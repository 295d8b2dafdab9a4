"""Streams of questions, and questions by id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.questions import QuestionBook, QuestionStream
from tests.conftest import QUESTIONS


@given(st.integers(0, 2**128), st.integers(0, 10**6), st.integers(1, 20))
def test_a_stream_has_one_question_a_place(seed: int, place: int, group_size: int) -> None:
    stream = QuestionStream(QUESTIONS, seed, group_size)
    assert stream[place] == stream[place]
    assert stream[place] == stream[place - place % group_size]


def test_a_stream_draws_uniformly() -> None:
    stream = QuestionStream(QUESTIONS, seed=1)
    counts = {question.id: 0 for question in QUESTIONS}
    for place in range(2000):
        counts[stream[place].id] += 1
    # Four questions, 2000 draws: 500 each, standard deviation 19.4.
    assert all(abs(count - 500) < 100 for count in counts.values())


def test_questions_are_found_by_id(question_set: QuestionSet) -> None:
    book = QuestionBook(question_set)
    assert book.find("q-river") is QUESTIONS[2]
    with pytest.raises(ValueError, match="no question has the id 'x'"):
        book.find("x")
