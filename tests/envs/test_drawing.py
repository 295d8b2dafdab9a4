"""Draws of questions: those of numpy's own generators."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.envs import drawing
from igpo_gym.envs.drawing import drawn

EDGES = [0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1, 2**64, 2**90]


def by_numpy(seed: int, numbers: range, size: int) -> tuple[int, ...]:
    return tuple(int(np.random.default_rng((seed, number)).integers(size)) for number in numbers)


@given(
    seed=st.sampled_from(EDGES) | st.integers(0, 2**70),
    first=st.sampled_from([0, 2**32 - 2, 2**40]) | st.integers(0, 2**20),
    size=st.sampled_from([1, 2, 2**32 - 1, 2**32, 2**33]) | st.integers(1, 2**20),
)
def test_every_draw_is_that_of_a_generator_of_its_own(seed: int, first: int, size: int) -> None:
    numbers = range(first, first + 4)
    assert drawn(seed, numbers, size) == by_numpy(seed, numbers, size)


def test_a_draw_that_lemires_method_rejects_is_made_again() -> None:
    """At such a size a quarter of the first draws are rejected."""
    size = 3 * 2**30
    assert drawn(0, range(64), size) == by_numpy(0, range(64), size)


def test_the_common_case_makes_no_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = by_numpy(5, range(16), 100)
    monkeypatch.setattr(drawing, "_alone", None)
    assert drawn(5, range(16), 100) == expected


@pytest.mark.parametrize("kind", [np.int32, np.uint64])
def test_a_seed_may_be_an_integer_of_numpys(kind: type[np.integer[Any]]) -> None:
    assert drawn(cast(int, kind(5)), range(4), 100) == by_numpy(5, range(4), 100)


@pytest.mark.parametrize(("seed", "numbers"), [(-1, range(4)), (0, range(-4, 0))])
def test_what_numpy_refuses_is_refused(seed: int, numbers: range) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        drawn(seed, numbers, 100)
