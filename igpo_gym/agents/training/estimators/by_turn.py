"""Estimators that compare a gain with those of its group's same turns, and add the outcome to every turn.

Normalizing by the number of the turn is biased where the policy chooses when to stop and what a turn is paid
depends on who gets so far.
"""

from __future__ import annotations

import numpy as np

from igpo_gym.agents.training.estimators.interface import Estimator
from igpo_gym.agents.training.estimators.turns import Floats, Turns, accumulated, standardized
from igpo_gym.errors import SpecError


def mt_grpo(outcome_weight: float = 1.0) -> Estimator:
    """MT-GRPO (2505.11821): a turn's own gain and the outcome, which weighs 1 on the last turn.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> mt_grpo()(turns).round(3).tolist()
    [2.0, 1.0, 1.0, -2.0, -1.0]
    """

    def advantages(turns: Turns, gamma: float) -> Floats:
        outcomes = accumulated(turns, turns.at_end(standardized(turns.outcomes, turns.groups)), gamma)
        return _gains(turns) + np.where(turns.lasts, 1.0, outcome_weight) * outcomes

    return Estimator("mt-grpo", advantages)


def a2tgpo(
    alpha: float = 0.3, clip_low: float = 3e-3, clip_high: float = 4e-3, clip_width: float = 0.3
) -> Estimator:
    """A2TGPO (2605.06200): the outcome, and the gains from here on, scaled by how many there are.

    With ``G_t = z(g_t | group, t)``, ``D_t = sum_{k >= t} gamma^(k-t) G_k`` over the turns with gains:
    ``A_t = z(o | group) + alpha * D_t / sqrt(number of terms)``; the outcome is not discounted. Importance
    ratios are those of turns and count between ``1 - clip_low`` and ``1 + clip_high``, each bound times
    ``1 + clip_width * (2 * sigmoid(G_t) - 1)``: a turn that informed more than its peers may move the policy
    further. The defaults are those of the authors' code.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> a2tgpo()(turns).round(3).tolist()
    [1.212, 1.0, 1.0, -1.3, -1.0]
    >>> low, high = a2tgpo().clips(turns, clip=0.2)
    >>> high.round(5).tolist()
    [0.00455, 0.004, 0.004, 0.00345, 0.004]
    """

    if not (0 <= clip_low < 1 and clip_high >= 0 and 0 <= clip_width <= 1):
        raise SpecError(
            "clip_low is at least 0 and below 1, clip_high at least 0, clip_width between 0 and 1, "
            f"not {clip_low}, {clip_high} and {clip_width}"
        )

    def advantages(turns: Turns, gamma: float) -> Floats:
        outcomes = np.repeat(standardized(turns.outcomes, turns.groups), turns.lengths)
        terms = accumulated(turns, turns.exists.astype(np.float64), 1.0)
        return outcomes + alpha * accumulated(turns, _gains(turns), gamma) / np.sqrt(np.maximum(terms, 1.0))

    return Estimator(
        "a2tgpo",
        advantages,
        clip=(clip_low, clip_high),
        clip_scale=lambda turns: 1.0 + clip_width * np.tanh(_gains(turns) / 2),  # 2 * sigmoid(x) - 1
        ratio="turn",
    )


def _gains(turns: Turns) -> Floats:
    """Each gain among those of its group's turns of the same number; 0 where there is none."""
    return standardized(turns.gains, turns.turn_groups, turns.numbers, among=turns.exists)
