"""The value of a state, by Monte Carlo: a policy completes the episode many times over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from igpo_gym.data.metrics import f1
from igpo_gym.data.scores import score
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.playing import advance
from igpo_gym.episode import Episode
from igpo_gym.lm.policy import Policy
from igpo_gym.rewards import RewardFunction

NOTHING = RewardFunction("nothing", ())
"""Pays nothing, and so needs nothing."""

FIRST_ATTEMPT = 1_000_000
"""The number of the first completion: far from those of recorded attempts, which must not be played again."""


@dataclass(frozen=True, slots=True)
class Completions:
    """Estimates values by completing episodes with a policy (a ``ValueEstimator``).

    Each completion is an attempt of its own at the question (see ``FIRST_ATTEMPT``), so that a policy that
    draws by the attempt's number gives the same values in every call.
    """

    engine: Engine
    """The rules; its own reward and scorer are not used."""
    policy: Policy
    batch_size: int = 64
    """How many completions run at a time."""

    def values(self, episodes: Sequence[Episode], completions: int) -> list[float]:
        """For each running episode, the mean F1 of so many completions, in [0, 1]; it stays as it is."""
        copies = [
            replace(episode.until(len(episode.turns)), attempt=FIRST_ATTEMPT + number)
            for episode in episodes
            for number in range(completions)
        ]
        engine = replace(self.engine, reward=NOTHING, scorer=None)
        for start in range(0, len(copies), self.batch_size):
            running = copies[start : start + self.batch_size]
            while running:
                running = advance(engine, self.policy, running)
        outcomes = [score(f1, episode) for episode in copies]
        return [
            fmean(outcomes[start : start + completions]) for start in range(0, len(outcomes), completions)
        ]
