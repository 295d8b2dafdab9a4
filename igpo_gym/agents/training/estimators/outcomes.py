"""Estimators that take the outcome alone, on every turn; a reward with gains is refused beside them."""

from __future__ import annotations

import numpy as np

from igpo_gym.agents.training.estimators.interface import Estimator
from igpo_gym.agents.training.estimators.turns import Floats, Turns, accumulated, standardized


def grpo() -> Estimator:
    """GRPO (2402.03300): the outcome normalized in its group.

    GRPO's public codes divide by the std of a sample, IGPO's and this one by that of a population: a factor
    of ``sqrt((G-1)/G)`` for a group of G.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> grpo()(turns).round(3).tolist()
    [1.0, 1.0, 1.0, -1.0, -1.0]
    """

    def advantages(turns: Turns, gamma: float) -> Floats:
        return accumulated(turns, turns.at_end(standardized(turns.outcomes, turns.groups)), gamma)

    return Estimator("grpo", advantages, uses_gains=False)


def rloo() -> Estimator:
    """RLOO (2402.14740): the outcome less the mean of the group's others.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> rloo()(turns).tolist()
    [1.0, 1.0, 1.0, -1.0, -1.0]
    """

    def advantages(turns: Turns, gamma: float) -> Floats:
        _, which, counts = np.unique(turns.groups, return_inverse=True, return_counts=True)
        others = np.bincount(which, turns.outcomes)[which] - turns.outcomes
        baseline = others / (counts - 1)[which]
        return accumulated(turns, turns.at_end(turns.outcomes - baseline), gamma)

    return Estimator("rloo", advantages, uses_gains=False)


def reinforce_plus_plus() -> Estimator:
    """REINFORCE++ (2501.03262): the outcome normalized in the batch.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3,), 1.0), Split((), 0.0), Split((), 0.5)], groups=["q", "q", "p"])
    >>> reinforce_plus_plus()(turns).round(3).tolist()
    [1.225, 1.225, -1.225, 0.0]
    """

    def advantages(turns: Turns, gamma: float) -> Floats:
        return accumulated(turns, turns.at_end(standardized(turns.outcomes)), gamma)

    return Estimator("reinforce++", advantages, uses_gains=False, groupwise=False)
