"""Advantages: from what turns are paid to what each turn is worth beside its peers.

Estimators are pure functions over turn-level arrays, for any trainer:

>>> turns = Turns.of([Split((0.0,), 1.0), Split((0.3,), 1.0)], groups=["q", "q"])  # two right answers
>>> resolve_estimator("grpo")(turns).tolist()  # the outcomes are equal, so they teach nothing
[0.0, 0.0, 0.0, 0.0]
>>> resolve_estimator("igpo-separate")(turns).round(3).tolist()
[-1.0, 0.0, 1.0, 0.0]

In the formulas ``g_t`` is the gain of turn ``t`` and ``o`` the outcome of the episode, as
:func:`igpo_gym.rewards.split.split` divides them. ``r_t`` is the reward of a turn as one number:
``r_t = g_t``, and ``r_T = o + g_T`` on the last turn, where ``g_T`` may not exist. ``z(x | set)`` is
:func:`standardized`. A sum over no gains is 0.

One of your own is registered under a name:

>>> from igpo_gym import specs
>>> @specs.register("estimator", "greedy")
... def greedy(weight: float = 1.0) -> Estimator:
...     return Estimator("greedy", lambda turns, gamma: weight * turns.gains)
>>> resolve_estimator("greedy(weight=2)")(turns).tolist()
[0.0, 0.0, 0.6, 0.0]
>>> specs.unregister("estimator", "greedy")
"""

from igpo_gym.agents.training.estimators.interface import Estimator, Seed
from igpo_gym.agents.training.estimators.table import DEFAULT, ESTIMATORS, check_reward, resolve_estimator
from igpo_gym.agents.training.estimators.turns import (
    NEARLY_ZERO,
    Floats,
    Turns,
    accumulated,
    collapse_rate,
    over_leaves,
    per_token,
    standardized,
    zero_std_rate,
)
from igpo_gym.rewards.split import Split

__all__ = [
    "DEFAULT",
    "ESTIMATORS",
    "NEARLY_ZERO",
    "Estimator",
    "Floats",
    "Seed",
    "Split",
    "Turns",
    "accumulated",
    "check_reward",
    "collapse_rate",
    "over_leaves",
    "per_token",
    "resolve_estimator",
    "standardized",
    "zero_std_rate",
]
