from __future__ import annotations

import pytest
from gymnasium.error import CustomSpaceError
from gymnasium.spaces import Dict, Discrete
from gymnasium.spaces.utils import flatdim, flatten, flatten_space, unflatten
from gymnasium.vector.utils import (
    batch_space,
    concatenate,
    create_empty_array,
    create_shared_memory,
    iterate,
)
from gymnasium.wrappers.utils import create_zero_array
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.envs.spaces import UnicodeText


@given(st.integers(0, 2**32))
def test_samples_are_texts_that_files_accept(seed: int) -> None:
    space = UnicodeText(sample_length=50, seed=seed)
    text = space.sample()
    assert text in space
    assert len(text) <= 50
    text.encode()


def test_samples_follow_the_seed_and_reach_all_planes() -> None:
    first, second = (UnicodeText(sample_length=20_000, seed=7) for _ in range(2))
    texts = [first.sample() for _ in range(20)]
    assert texts == [second.sample() for _ in range(20)]
    assert len(set(texts)) == 20
    points = {ord(character) for text in texts for character in text}
    assert min(points) < 0xD800 < 0xE000 <= max(points)
    assert not any(0xD800 <= point < 0xE000 for point in points)


def test_only_strings_that_are_short_enough_are_in_the_space() -> None:
    space = UnicodeText(max_length=3, sample_length=2)
    assert "" in space
    assert "äöü" in space
    assert "four" not in space
    assert b"abc" not in space
    assert None not in space


def test_texts_batch() -> None:
    space = UnicodeText()
    batched = batch_space(space, 3)
    texts = tuple("x" * 20_000 for _ in range(3))
    assert texts in batched
    assert len(batched.sample()) == 3
    assert tuple(iterate(batched, texts)) == texts
    assert concatenate(space, texts, create_empty_array(space, 3)) == texts


def test_spaces_compare_and_explain() -> None:
    assert UnicodeText() == UnicodeText(seed=1)
    assert UnicodeText(max_length=100) != UnicodeText()
    assert repr(UnicodeText(max_length=100)) == "UnicodeText(100)"
    with pytest.raises(ValueError, match="sample_length"):
        UnicodeText(max_length=3)
    with pytest.raises(ValueError, match="without mask"):
        UnicodeText().sample(mask=())  # type: ignore[arg-type]


def test_gymnasium_knows_what_to_do_with_texts() -> None:
    space = UnicodeText()
    assert create_zero_array(space) == ""
    assert flatten_space(space) == space
    assert unflatten(space, flatten(space, "Günter")) == "Günter"
    nested = Dict({"text": space, "number": Discrete(3)})
    assert flatten_space(nested)["text"] == space  # type: ignore[index]
    with pytest.raises(ValueError, match="does not flatten to a fixed size"):
        flatdim(space)
    with pytest.raises(CustomSpaceError, match="shared_memory=False"):
        create_shared_memory(space, n=2)
