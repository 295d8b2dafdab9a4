"""What Gymnasium's own environment does, as a trace that every adapter is held against.

An adapter's player has the signature of :func:`play`: the same question, actions and seed must give the same
trace. Rewards are compared as float32, to which some libraries round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import pytest

import igpo_gym  # noqa: F401
from igpo_gym.data.interface import QuestionSet
from igpo_gym.search.bm25 import BM25Index
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer

Action: TypeAlias = str | int

SETTINGS: dict[str, Any] = {
    "questions": QuestionSet("tiny", QUESTIONS, PASSAGES),
    "search": BM25Index.build(PASSAGES),
    "scorer": MentionScorer(),
    "max_turns": 3,
    "top_k": 2,
}

TEXT = "SearchQA-IGPO-v0"
DISCRETE = "SearchQA-IGPO-Discrete-v0"

SCRIPTS: dict[str, tuple[str, tuple[Action, ...]]] = {
    "answers": (
        TEXT,
        ("<search>capital</search>", "<think>hm</think><search>a</search>", "<answer>x</answer>"),
    ),
    "invalid": (TEXT, ("no action", "<answer>x</answer>")),
    "out of turns": (TEXT, ("<search>river</search>", "", "<search>mayor</search>")),
    "discrete answers": (DISCRETE, (0, 1, 17)),
    "discrete invalid": (DISCRETE, (16, 17)),
    "discrete out of turns": (DISCRETE, (1, 2, 3)),
}
"""By name: an environment, and the actions to play in it to the episode's end."""


@dataclass(frozen=True)
class Step:
    """What one step gives back; a reset gives no reward and does not end."""

    observation: Any
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


@cache
def play(env_id: str, seed: int, actions: tuple[Action, ...]) -> list[Step]:
    """The trace of one episode through ``gymnasium.make``: the reset, then a step an action."""
    env = gym.make(env_id, **SETTINGS)
    trace = [Step(env.reset(seed=seed)[0])]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        trace.append(Step(observation, float(reward), terminated, truncated))
    assert trace[-1].terminated or trace[-1].truncated
    return trace


def assert_same(trace: Sequence[Step], expected: Sequence[Step]) -> None:
    """Fail where a trace differs from what is expected."""
    assert len(trace) == len(expected)
    for number, (step, wanted) in enumerate(zip(trace, expected, strict=True)):
        if isinstance(wanted.observation, str):
            assert step.observation == wanted.observation, f"step {number}"
        else:
            np.testing.assert_array_equal(step.observation, wanted.observation, f"step {number}")
        assert step.reward == pytest.approx(wanted.reward, rel=1e-6, abs=1e-7), f"step {number}"
        assert (step.terminated, step.truncated) == (wanted.terminated, wanted.truncated), f"step {number}"
