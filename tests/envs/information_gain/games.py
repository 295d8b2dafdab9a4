"""A game of texts, and a scorer whose weights change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from igpo_gym.envs.spaces import UnicodeText
from igpo_gym.episode import Belief
from igpo_gym.scorers.interface import BeliefRequest
from tests.conftest import MentionScorer


class Pushed(MentionScorer):
    """Tells the version of its weights, the second of which believes half as much."""

    versions = (1, 1, 2)

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        beliefs = super().score(requests)
        version = self.versions[min(len(self.calls), len(self.versions)) - 1]
        lower = math.log(version)
        return [Belief((each.log_prob - lower,), weights=f"v{version}") for each in beliefs]


class Names(gym.Env[str, str]):
    """Tells a name as often as it is asked for with "tell"; "end" ends with a word, "stop" without one."""

    def __init__(self, name: str = "Ada", where: str = "info") -> None:
        self.observation_space = self.action_space = UnicodeText()
        self.name, self.where = name, where
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return "Who is it?", {"answers": [self.name]} if self.where == "info" else {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        replies = {"tell": self.name, "end": f"It was {self.name}.", "stop": ""}
        ended = action in ("end", "stop")
        return replies.get(action, "No."), 5.0 * ended, ended, False, {"steps": self.steps}
