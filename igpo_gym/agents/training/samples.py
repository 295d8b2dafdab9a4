"""Episodes of each validation, kept in the run's folder for people to look at."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from igpo_gym.agents.rollouts.records import write_episodes
from igpo_gym.agents.training.settings import Settings
from igpo_gym.config import shown
from igpo_gym.episode import Episode
from igpo_gym.errors import ScoringError
from igpo_gym.rewards import RewardFunction, resolve_reward
from igpo_gym.rewards.relabel import relabel
from igpo_gym.scorers.interface import AnswerScorer

logger = logging.getLogger(__name__)

SAMPLES = "samples"
"""The folder's name within a run's."""

KEPT = 32
"""How many episodes of a validation are kept: the first, which are the same questions each time."""

FILES = 10
"""Of how many validations: the first and the latest."""

_SHOWN = ("max_turns", "protocol", "questions", "scorer", "search", "seed", "tools", "top_k")


def keep_samples(
    folder: Path,
    update: int,
    episodes: Sequence[Episode],
    settings: Settings,
    reward: RewardFunction,
    scorer: AnswerScorer | None,
) -> None:
    """Write the first episodes of a validation to a file of their own, and remove those that are too many.

    ``reward`` is what they were paid. With a scorer they are priced by ``igpo``, so that they show the belief
    after each turn, and those that it cannot read are not kept; where it fails, they stay without.
    """
    sample = [episode for episode in episodes if episode.turns][:KEPT]
    if scorer is not None and not any(each.beliefs for each in sample):
        try:
            gain = resolve_reward("igpo")
            priced = [
                replace(each.episode, rewards=each.rewards[gain.name])
                for each in relabel(sample, [gain], scorer, protocol=settings.protocol, partial=True)
                if each.rewards
            ]
            if priced:
                sample, reward = priced, gain
        except ScoringError as problem:
            logger.warning("the samples of the validation have no beliefs: %s", problem)
    told = {name: value for name, value in shown(settings).items() if name in _SHOWN}
    told |= {"agent": f"{settings.model}, update {update}", "reward": reward.name, "update": update}
    if settings.validation is not None:
        told["questions"] = shown(settings)["validation"]
    write_episodes(folder / f"{update:06d}.jsonl", sample, told, reward)
    for old in samples(folder)[1 : 1 - FILES]:
        old.unlink()


def samples(folder: Path) -> list[Path]:
    """The files of samples, in order of the updates.

    >>> samples(Path("no-run/samples"))
    []
    """
    return sorted(folder.glob("[0-9]*.jsonl"), key=lambda path: int(path.stem))
