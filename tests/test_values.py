"""Immutable values: made quickly, and otherwise as the dataclass that they are."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from igpo_gym.episode import Segment


def test_a_value_is_what_its_dataclass_is() -> None:
    made = Segment("agent", "assistant", "a", weights="3")
    told = tuple(getattr(made, field.name) for field in fields(Segment))
    assert told == ("agent", "assistant", "a", None, None, "", (), "3")
    assert made == copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) != replace(made, text="b")
    assert hash(made) == hash(replace(made))
    assert list(inspect.signature(Segment).parameters) == [field.name for field in fields(Segment)]


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Segment("agent", "assistant", "a").text = "b"  # type: ignore[misc]


@pytest.mark.parametrize("given", [(), ("agent",), ("agent",) * 9])
def test_a_field_that_is_not_given_or_too_many_are_named_as_python_does(given: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match="__init__"):
        Segment(*given)  # type: ignore[arg-type]
