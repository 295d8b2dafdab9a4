"""Re-pricing: what recorded episodes would have been paid under any rewards.

>>> from igpo_gym.agents.records import read_rollouts
>>> for priced in reprice(read_rollouts(path), ["igpo", "watermark"], "nano"):  # doctest: +SKIP
...     print(priced.returns)
{'igpo': 1.74, 'watermark': 1.81}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from igpo_gym.episode import Episode
from igpo_gym.protocols import TAGS, TextProtocol
from igpo_gym.rewards.functions import RewardFunction, resolve_reward
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.scorers.trajectory import score_trajectories


@dataclass(frozen=True, slots=True)
class Priced:
    """An episode and what it earns under each reward."""

    episode: Episode
    """A copy of the recorded episode, with the beliefs that it was priced by and without rewards."""
    rewards: dict[str, list[dict[str, float]]]
    """By reward, for each turn its weighted terms by name; their sum is the turn's reward."""

    @property
    def returns(self) -> dict[str, float]:
        """By reward, the undiscounted sum over all turns."""
        return {name: sum(sum(terms.values()) for terms in turns) for name, turns in self.rewards.items()}


def reprice(
    episodes: Iterable[Episode],
    rewards: Sequence[str | RewardFunction],
    scorer: str | AnswerScorer | None = None,
    *,
    protocol: TextProtocol = TAGS,
    batch_size: int = 32,
) -> Iterator[Priced]:
    """Price ended episodes under each of ``rewards``, and yield them in order.

    ``scorer`` measures every belief anew, ``batch_size`` episodes in one call, each belief once however many
    rewards use it; without one the recorded beliefs are taken. ``protocol`` is the one that the episodes were
    played with. No more than a batch is held in memory.
    """
    functions = [resolve_reward(reward) for reward in rewards]
    judge = resolve_scorer(scorer)
    waiting = iter(episodes)
    while batch := list(islice(waiting, batch_size)):
        if judge is not None:
            measured = score_trajectories(judge, batch, protocol.probe)
            batch = [
                replace(episode, beliefs=beliefs, rewards=[])
                for episode, beliefs in zip(batch, measured, strict=True)
            ]
        for episode in batch:
            turns = range(1, len(episode.turns) + 1)
            yield Priced(
                episode,
                {function.name: [function.price(episode, turn) for turn in turns] for function in functions},
            )
