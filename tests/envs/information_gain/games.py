"""A game of texts, and a model whose belief can be computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from igpo_gym.envs.spaces import UnicodeText
from igpo_gym.episode import Belief
from igpo_gym.errors import TranscriptTooLongError
from igpo_gym.scorers.interface import BeliefRequest


class Mentions:
    """``p(answer) = (1 + mentions) / (10 + mentions)``; reads at most ``longest`` characters."""

    def __init__(self, longest: int = 10**6) -> None:
        self.calls: list[int] = []
        self.longest = longest

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        self.calls.append(len(requests))
        texts = ["".join(segment.text for segment in each.segments) for each in requests]
        if too_long := tuple(place for place, text in enumerate(texts) if len(text) > self.longest):
            raise TranscriptTooLongError("too long", too_long)
        return [
            Belief(tuple(math.log(p(text.count(answer))) for answer in request.answers))
            for text, request in zip(texts, requests, strict=True)
        ]


def p(mentions: int) -> float:
    """What :class:`Mentions` believes."""
    return (1 + mentions) / (10 + mentions)


class Pushed(Mentions):
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
