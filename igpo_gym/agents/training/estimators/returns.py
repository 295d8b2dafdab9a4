"""Estimators that compare returns, with the reward of a turn as one number: r_t = g_t, r_T = o + g_T."""

from __future__ import annotations

import numpy as np

from igpo_gym.agents.training.estimators.interface import Estimator
from igpo_gym.agents.training.estimators.turns import Floats, Turns, accumulated, standardized
from igpo_gym.errors import SpecError


def rebn() -> Estimator:
    """Return batch normalization (GEM, 2510.01051): discounted returns normalized over the whole batch.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> rebn()(turns).round(3).tolist()
    [1.2, 0.678, 0.505, -1.148, -1.235]
    """

    def advantages(turns: Turns, gamma: float) -> Floats:
        return standardized(accumulated(turns, turns.rewards, gamma))

    return Estimator("rebn", advantages, groupwise=False)


def gigpo(step_weight: float = 1.0, mode: str = "mean_norm") -> Estimator:
    """GiGPO (2505.10978): the episode among its group, and the turn among those from the same state.

    A state met once adds 0. ``mode`` has the names of its code: ``mean_norm`` takes the mean off,
    ``mean_std_norm`` divides by the std as well.

    >>> from igpo_gym.rewards.split import Split
    >>> splits = [Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)]
    >>> turns = Turns.of(splits, ["q", "q"], states=[["start", "b", "c"], ["start", "d"]])
    >>> gigpo()(turns).round(3).tolist()
    [1.35, 0.675, 0.675, -1.35, -0.675]
    """
    if mode not in ("mean_norm", "mean_std_norm"):
        raise SpecError(f"mode must be mean_norm or mean_std_norm, not {mode!r}")
    scale = mode == "mean_std_norm"

    def advantages(turns: Turns, gamma: float) -> Floats:
        assert turns.states is not None
        episodes = standardized(turns.returns, turns.groups, scale=scale)
        returns = accumulated(turns, turns.rewards, gamma)
        own = standardized(returns, turns.turn_groups, turns.states, scale=scale)
        return np.repeat(episodes, turns.lengths) + step_weight * own

    return Estimator("gigpo", advantages, needs_states=True)


def vine() -> Estimator:
    """VinePPO (2410.01679): ``A_t = V_t - V_{t-1}``, ``A_T = o - V_{T-1}``, as they are.

    The values are paid by the reward: ``f1 + value-gain(terminal=1)``. Nothing is compared or accumulated.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.25, -0.75), 1.0, last_gain=True)], groups=["q"])  # V: 0.5, then 0.75
    >>> vine()(turns).tolist()
    [0.25, 0.25]
    """

    def advantages(turns: Turns, gamma: float) -> Floats:
        return turns.rewards

    return Estimator("vine", advantages, groupwise=False, needs_last_gain=True)
