"""Does an estimator teach where there is nothing to learn?

An agent plays episodes in which every turn it stops with some probability, and is paid noise: gains and
outcomes that do not depend on what it does. No policy is better than another, so the expected gradient ought
to be zero. Where it is not, episodes grow longer or shorter for no reason, and F1 with them. No language
model is needed to see it: what counts is the gradient of the one number that decides the length.
"""

from __future__ import annotations

import numpy as np

from igpo_gym.agents.training.estimators import Estimator, Split, Turns, resolve_estimator
from igpo_gym.statistics import Estimate, mean_over

STOP, MAX_TURNS = 0.3, 6
GROUPS, GROUP_SIZE = 4, 8


OUTCOMES = {"answers, 0 or 1": 1.0, "penalties, 0 or -2": -2.0}
"""What an episode is paid with one chance in two, by what it is called."""


def drift(name: str, outcome: float = 1.0, batches: int = 400, gamma: float = 1.0) -> Estimate:
    """The expected gradient on the logit of stopping, in units of its standard deviation over batches.

    Positive: episodes become shorter; see ``statistics.p_value`` for whether it is a bias. Gains are normal
    with mean 0 and standard deviation 0.1; outcomes are 0 or ``outcome`` with equal chance.
    """
    draw, estimator = np.random.default_rng(0), resolve_estimator(name)
    gradients = np.array([_gradient(estimator, outcome, gamma, draw) for _ in range(batches)])
    return mean_over(gradients / gradients.std(), range(batches))


def _gradient(estimator: Estimator, outcome: float, gamma: float, draw: np.random.Generator) -> float:
    """The policy gradient of one batch, the mean over its turns as the trainer's over tokens."""
    lengths = np.minimum(draw.geometric(STOP, GROUPS * GROUP_SIZE), MAX_TURNS)
    # Where the last turn must have a gain, it is minus what the state before it was worth: half an outcome.
    end = (-outcome / 2,) if estimator.needs_last_gain else ()
    splits = [
        Split((*draw.normal(0, 0.1, length - 1), *end), outcome * float(draw.integers(2)), bool(end))
        for length in lengths
    ]
    groups = np.repeat(np.arange(GROUPS), GROUP_SIZE).tolist()
    turns = Turns.of(splits, groups, states=[list(range(length)) for length in lengths])
    stopped = turns.lasts & (turns.numbers < MAX_TURNS - 1)
    # d log p / d logit: 1 - p of stopping, -p of going on; nothing is decided where the turns run out.
    score = np.where(stopped, 1 - STOP, np.where(turns.lasts, 0.0, -STOP))
    seed = (int(draw.integers(1 << 32)), 0) if estimator.draws else None
    return float((estimator(turns, gamma, seed=seed) * score).mean())
