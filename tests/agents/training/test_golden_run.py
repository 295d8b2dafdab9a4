"""The trainer's numbers are those that it had: see ``golden_run``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.agents.training.golden_run import (
    EPISODES,
    MODEL,
    NUMBERS,
    SETTINGS,
    UPDATES,
    distance,
    model_fingerprint,
    replayed,
)

ROOM = 10
"""How many times as far as from one thread to three the numbers may move."""


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(NUMBERS.read_text(encoding="utf-8"))
    made_by = found["made by"]["model"]
    assert model_fingerprint() == made_by, f"{MODEL} is another model by now: make the numbers again"
    return found


def moved(golden: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """The numbers that are further from the golden ones than they may be."""
    updates = len(ours["loss"])
    return [
        name
        for name, values in golden["numbers"].items()
        if not distance(ours[name], values[:updates]) <= ROOM * golden["spread"][name]
    ]


def test_the_first_updates_have_their_golden_numbers(golden: dict[str, Any]) -> None:
    assert moved(golden, replayed(3)) == []


@pytest.mark.slow
def test_all_updates_have_their_golden_numbers(golden: dict[str, Any]) -> None:
    ours = replayed()
    assert len(ours["loss"]) == UPDATES
    assert moved(golden, ours) == []


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"clip": 0.21}, "loss"),
        ({"kl_coef": 0.002}, "loss"),
        ({"gamma": 0.999}, "advantages"),
        ({"learning_rate": 3.01e-4}, "kl"),
    ],
    ids=str,
)
def test_a_slightly_other_trainer_would_be_seen(
    golden: dict[str, Any], change: dict[str, Any], seen: str
) -> None:
    """The room is small enough: a setting that is off by a little moves numbers out of it."""
    assert seen in moved(golden, replayed(2, replace(SETTINGS, **change)))


def test_the_episodes_are_small_and_tell_advantages_apart(golden: dict[str, Any]) -> None:
    assert EPISODES.stat().st_size < 300_000
    spreads = [np.ptp(each) for each in golden["numbers"]["advantages"]]
    assert len(spreads) == UPDATES
    assert sum(spread > 0.1 for spread in spreads) > UPDATES * 3 / 4
