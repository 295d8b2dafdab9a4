from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.setup import QuestionBook, QuestionStream, assemble
from igpo_gym.errors import SpecError
from igpo_gym.protocols import TOOL_CALL
from igpo_gym.rewards import PRESETS
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


def test_settings_become_an_engine(question_set: QuestionSet) -> None:
    questions, engine = assemble(
        question_set, scorer=None, reward="outcome-em", protocol="tool_call", max_turns=4, top_k=5
    )
    assert questions is question_set
    assert engine.protocol is TOOL_CALL
    assert engine.reward is PRESETS["outcome-em"]
    assert (engine.max_turns, engine.top_k, engine.scorer) == (4, 5, None)
    assert engine.retriever.search(["Wrocław"], 1)[0][0].id == "odra"


def test_questions_are_found_by_id(question_set: QuestionSet) -> None:
    book = QuestionBook(question_set)
    assert book.find("q-river") is QUESTIONS[2]
    with pytest.raises(ValueError, match="no question has the id 'x'"):
        book.find("x")


@pytest.mark.parametrize("spec", ["hotpotqa", "word", "hotpot:file"])
def test_unknown_questions_are_explained(spec: str) -> None:
    with pytest.raises(SpecError, match="hotpotqa:"):
        assemble(spec, scorer=None, reward="outcome-f1")
