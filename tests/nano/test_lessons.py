from dataclasses import replace

import pytest

from igpo_gym.protocols import TAGS
from nano.lessons import FIRST_SEED, LESSONS, lesson_rows


@pytest.mark.slow
def test_chunks_are_functions_of_seed_and_number(encode):
    for lesson in LESSONS:
        first, again = (lesson_rows(lesson, 0, 3, encode) for _ in range(2))
        assert first == again
        assert first != lesson_rows(lesson, 0, 4, encode)


def test_rows_that_are_too_long_are_left_out(encode):
    lesson = LESSONS[-1]
    lengths = [len(row.ids) for row in lesson_rows(replace(lesson, longest=10**9), 0, 3, encode)]
    kept = [len(row.ids) for row in lesson_rows(replace(lesson, longest=700), 0, 3, encode)]
    assert kept == [length for length in lengths if length <= 700] != lengths


def test_training_worlds_are_none_that_a_user_meets():
    assert FIRST_SEED > 100_000
    assert TAGS.name == "tags"
