"""The value of a state, by Monte Carlo: a policy completes the episode many times over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from igpo_gym.data.scores import score
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.playing import advance
from igpo_gym.lm.policy import Policy
from igpo_gym.rewards import RewardFunction
from igpo_gym.rewards.functions import as_paid
from igpo_gym.rewards.interface import State

NOTHING = RewardFunction("nothing", ())
"""Pays nothing, and so needs nothing."""

FIRST_ATTEMPT = 1_000_000
"""The number of the first completion: far from those of recorded attempts, which must not be played again."""


@dataclass(frozen=True, slots=True)
class Completions:
    """The value of a state: the mean F1 of so many completions of the episode, in [0, 1] (an ``Instrument``).

    An ended episode has nothing left to complete: its value is 0. One that was aborted could have gone on,
    and is completed. Each completion is an attempt of its own at the question (see ``FIRST_ATTEMPT``), so
    that a policy that draws by the attempt's number gives the same values in every call.
    """

    engine: Engine
    """The rules; its own reward, models and judge are not used."""
    policy: Policy
    completions: int = 8
    """How many a state."""
    batch_size: int = 64
    """How many run at a time."""
    version: str = ""
    """Tells policies apart; empty for any, whose values are then measured anew."""

    def __post_init__(self) -> None:
        if self.completions < 1:
            raise ValueError(f"completions must be at least 1, not {self.completions}")

    @property
    def name(self) -> str:
        """With the number of completions, as reward terms name it."""
        return f"value(completions={self.completions})"

    def measure(self, states: Sequence[State]) -> list[float]:
        """The value of each state. The episodes stay as they are."""
        then = [as_paid(episode.until(turn)) for episode, turn in states]
        running = [place for place, episode in enumerate(then) if not episode.done]
        copies = [
            replace(then[place].fork(), attempt=FIRST_ATTEMPT + number)
            for place in running
            for number in range(self.completions)
        ]
        engine = replace(self.engine, reward=NOTHING, scorer=None, reference=None, policy=None, judge=None)
        for start in range(0, len(copies), self.batch_size):
            playing = copies[start : start + self.batch_size]
            while playing:
                playing = advance(engine, self.policy, playing)
        outcomes = [score("f1", episode) for episode in copies]
        values = [0.0] * len(states)
        for number, place in enumerate(running):
            values[place] = fmean(outcomes[number * self.completions :][: self.completions])
        return values
