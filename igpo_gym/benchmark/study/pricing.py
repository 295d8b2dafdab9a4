"""The credit measures of the study's arms: each is priced on the same recorded episodes, before training.

The episodes are those of the credit benchmark. Beliefs are those of the model that the runs begin with, so
the arms whose scorer is the policy and those whose scorer is its start are paid alike. What an estimator
changes before it compares turns is changed here too; a group is what an agent played on a question.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from igpo_gym.agents.rollouts.costs import Meter
from igpo_gym.agents.training.estimators import Turns
from igpo_gym.agents.training.estimators.controls import last_gains, moved_gains, noise_of
from igpo_gym.benchmark.credit.measures import HACKING
from igpo_gym.benchmark.credit.pricing import PaidTrajectory
from igpo_gym.benchmark.credit.run import CreditResult, measured, run_credit
from igpo_gym.benchmark.credit.setup import FULL, Size, policy_maker
from igpo_gym.benchmark.study.credit import POINTS
from igpo_gym.benchmark.study.rows import ARMS, SHARED
from igpo_gym.config import EnvConfig
from igpo_gym.progress import Track, untracked
from igpo_gym.rewards import resolve_reward

CONFIG = EnvConfig(questions=SHARED["validation"], scorer=SHARED["model"])
"""Where the arms are priced: on questions of the validation, by the model that they begin with."""

REACHES: dict[str, Callable[[Turns, tuple[int, int]], Turns]] = {
    "noise": lambda turns, seed: replace(turns, gains=noise_of(turns, seed)),
    "permuted-3": lambda turns, seed: replace(turns, gains=moved_gains(turns, seed)),
    "last-gain": lambda turns, _: last_gains(turns),
}
"""What the estimators of some arms make of the gains: those of the others reach them as they are."""


KEYS = {"auc": "auc", "r2": "teacher_r2", "collapse": "collapse", "rank": "value_correlation"}
"""The credit benchmark's names of the measures that it has."""


def priced_arms(
    size: Size = FULL, track: Track = untracked, folder: Path | None = None, meter: Meter | None = None
) -> dict[str, dict[str, float]]:
    """By arm its credit measures, but for those that it does not have (a pay of 0 has no correlation).

    With a ``folder`` an ended run goes on, as in :func:`run_credit`. Raises BudgetSpentError.
    """
    policy = policy_maker(SHARED["model"], CONFIG)
    rewards = dict.fromkeys(ARMS[name].reward for name in POINTS)
    result = run_credit(CONFIG, list(rewards), size, policy=policy, track=track, folder=folder, meter=meter)
    return {name: _measures(name, result) for name in POINTS}


def _measures(name: str, result: CreditResult) -> dict[str, float]:
    reward = resolve_reward(ARMS[name].reward).name
    groups = [reaching(name, plays, question) for question, plays in enumerate(result.plays[reward])]
    measures = {ours: result.measure(key) for ours, key in KEYS.items()} | {"hacking": HACKING}
    found = {ours: measured(measure, groups).value for ours, measure in measures.items()}
    return {ours: value for ours, value in found.items() if not math.isnan(value)}


def reaching(name: str, plays: Sequence[PaidTrajectory], question: int) -> list[PaidTrajectory]:
    """The plays of a question with the pay that reaches an arm's estimator."""
    if name not in REACHES:
        return list(plays)
    turns = Turns.of([play.split for play in plays], groups=[play.trajectory.agent for play in plays])
    reached = REACHES[name](turns, (0, question))
    ends = np.cumsum(turns.lengths)[:-1]
    return [
        replace(play, shaping=gains, counted=tuple(exists.tolist()))
        for play, gains, exists in zip(
            plays, np.split(reached.gains, ends), np.split(reached.exists, ends), strict=True
        )
    ]
