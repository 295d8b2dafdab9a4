"""IGPO (2510.14967) and the later modes of its authors: normalized rewards, accumulated over turns.

``gain_weight`` multiplies the gains after they are normalized.

An ``outcome_floor`` w above 0 takes, in the place of ``gamma``, the discount ``w^(1/T)`` for an episode of T
turns: the outcome then weighs at least w on the first turn, however long the episode (DR-Venus, 2604.19859).
"""

from __future__ import annotations

import numpy as np

from igpo_gym.agents.training.estimators.interface import Estimator
from igpo_gym.agents.training.estimators.turns import Floats, Turns, accumulated, standardized
from igpo_gym.errors import SpecError


def igpo_joint(gain_weight: float = 1.0, outcome_floor: float = 0.0) -> Estimator:
    """The paper's: a group's gains and outcomes are normalized together.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> igpo_joint()(turns).round(3).tolist()
    [1.435, 1.408, 1.922, -1.435, -0.785]
    """
    _check(outcome_floor)

    def advantages(turns: Turns, gamma: float, weights: tuple[float, float] = (1.0, 1.0)) -> Floats:
        z = standardized(turns.rewards, turns.turn_groups, among=turns.exists | turns.lasts)
        weighted = z * np.where(turns.lasts, weights[1], gain_weight * weights[0])
        return accumulated(turns, weighted, _discount(turns, gamma, outcome_floor))

    return Estimator("igpo-joint", advantages, curriculum=True)


def igpo_separate(gain_weight: float = 1.0, outcome_floor: float = 0.0) -> Estimator:
    """The default of the authors' later code: gains and outcomes are normalized each among themselves.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> igpo_separate()(turns).round(3).tolist()
    [1.926, 0.537, 1.0, -1.926, -1.0]
    """
    _check(outcome_floor)

    def advantages(turns: Turns, gamma: float, weights: tuple[float, float] = (1.0, 1.0)) -> Floats:
        gains, outcomes = _normalized(turns)
        values = gain_weight * weights[0] * gains + turns.at_end(weights[1] * outcomes)
        return accumulated(turns, values, _discount(turns, gamma, outcome_floor))

    return Estimator("igpo-separate", advantages, curriculum=True)


def igpo_scaled(gain_weight: float = 1.0, outcome_floor: float = 0.0) -> Estimator:
    """``scaled_separate`` (DR-Venus, 2604.19859): as igpo-separate, gains brought to the size of outcomes.

    Both sizes are means over the batch.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> igpo_scaled()(turns).round(3).tolist()
    [2.0, 0.5, 1.0, -2.0, -1.0]
    """
    _check(outcome_floor)

    def advantages(turns: Turns, gamma: float) -> Floats:
        gains, outcomes = _normalized(turns)
        if turns.exists.any():
            size = np.abs(gains[turns.exists]).mean()
            gains = gains * min(10.0, max(0.3, np.abs(outcomes).mean()) / (size + 1e-6))
        values = gain_weight * gains + turns.at_end(outcomes)
        return accumulated(turns, values, _discount(turns, gamma, outcome_floor))

    return Estimator("igpo-scaled", advantages)


def igpo_raw(gain_weight: float = 1.0) -> Estimator:
    """``raw_ig`` (DR-Venus, 2604.19859): gains divided by their group's std, not centered.

    Nothing is accumulated; ``gamma`` is unused.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> igpo_raw()(turns).round(3).tolist()
    [3.777, 1.926, 1.0, -0.537, -1.0]
    """

    def advantages(turns: Turns, gamma: float) -> Floats:
        gains = standardized(turns.gains, turns.turn_groups, among=turns.exists, center=False)
        outcomes = standardized(turns.outcomes, turns.groups)
        return gain_weight * gains + np.repeat(outcomes, turns.lengths)

    return Estimator("igpo-raw", advantages)


def _normalized(turns: Turns) -> tuple[Floats, Floats]:
    """Gains, [turns], and outcomes, [episodes], each normalized among themselves within their group."""
    gains = standardized(turns.gains, turns.turn_groups, among=turns.exists)
    return gains, standardized(turns.outcomes, turns.groups)


def _discount(turns: Turns, gamma: float, floor: float) -> float | Floats:
    return floor ** (1 / turns.lengths) if floor else gamma


def _check(outcome_floor: float) -> None:
    if not 0 <= outcome_floor <= 1:
        raise SpecError(f"outcome_floor must be between 0 and 1, not {outcome_floor}")
