"""Text that others write costs time that grows as its length does, whatever it repeats."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from igpo_gym.data.metrics import normalize
from igpo_gym.envs.candidates import names_in
from igpo_gym.protocols import TAGS, TOOL_CALL
from igpo_gym.search.bm25.analysis import words
from igpo_gym.text import cut_at_sentence, neutralize, without_credentials

READERS: dict[str, Callable[[str], object]] = {
    "names": names_in,
    "words": words,
    "normal form": normalize,
    "neutralized": neutralize,
    "without credentials": without_credentials,
    "cut": lambda text: cut_at_sentence(text, len(text) - 1),
    "tags": TAGS.parse,
    "tool call": lambda text: TOOL_CALL.parse(f"<tool_call>{text}</tool_call>"),
}
LETTERS = ("a", "A ", "The ", "Tin of ", "A'", ".' ", "\\")
MARKS = ("x://a:b", "://@", "<", "<search>", "</think>", '{"a":')
LENGTH, TIMES = 2_000, 16


def seconds(read: Callable[[str], object], text: str) -> float:
    """The CPU time of a reading: the least of three."""
    took = []
    for _ in range(3):
        start = time.process_time()
        read(text)
        took.append(time.process_time() - start)
    return min(took)


@pytest.mark.parametrize("reader", READERS)
def test_time_grows_as_the_text_does(reader: str) -> None:
    read = READERS[reader]
    for repeated in LETTERS + MARKS:
        short = repeated * (LENGTH // len(repeated))
        before = max(seconds(read, short), 1e-3)  # below that a clock tells little
        assert seconds(read, short * TIMES) < 6 * TIMES * before, repeated  # the square is 16 times
