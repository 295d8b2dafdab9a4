"""Controls: estimators with one thing taken away, to tell what another one owes to it.

Each wraps an estimator, ``of``, and looks at whole episodes. What is drawn at random is decided by ``seed``,
which the trainer gives as the run's seed and the number of the update: a resumed run draws the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from igpo_gym.agents.training.estimators.interface import Estimator, Seed
from igpo_gym.agents.training.estimators.turns import Bools, Floats, Ints, Turns, accumulated
from igpo_gym.errors import SpecError
from igpo_gym.parameters import make, read_call


def noise(of: str = "grpo") -> Estimator:
    """As ``of``, plus noise where outcomes teach nothing: a signal without information.

    In groups whose outcomes do not differ, each turn but the last has a draw from N(0, 1) in the place of a
    normalized gain, accumulated over turns as gains are. All other groups are those of ``of``.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0, 0), 1), Split((0,), 1), Split((0,), 1), Split((0,), 0)], [*"qqpp"])
    >>> noise()(turns, seed=(0, 1)).round(2).tolist()
    [-0.88, -0.98, 0.0, -1.03, 0.0, 1.0, 1.0, -1.0, -1.0]
    """
    base = _wrapped(of)

    def advantages(turns: Turns, gamma: float, seed: Seed = (0, 0)) -> Floats:
        return base(turns, gamma) + accumulated(turns, noise_of(turns, seed), gamma)

    def share(turns: Turns) -> Mapping[str, float]:
        return {"noisy_episodes": float(_equal_outcomes(turns).mean())}

    return replace(base, name="noise", function=advantages, draws=True, tells=share, curriculum=False)


def permuted(of: str = "igpo-separate") -> Estimator:
    """As ``of``, with each episode's gains at other turns: the same signal, credit to the wrong turns.

    Where an episode has two gains or more, they are moved by a derangement, drawn uniformly: none stays at
    its turn. Episodes with fewer stay as they are; the log tells their share, ``unmoved_episodes``.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> swapped = Turns.of([Split((0.1, 0.3), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> permuted()(turns).round(3).tolist() == _wrapped("igpo-separate")(swapped).round(3).tolist()
    True
    """
    base = _wrapped(of)

    def advantages(turns: Turns, gamma: float, seed: Seed = (0, 0)) -> Floats:
        return base(replace(turns, gains=moved_gains(turns, seed)), gamma)

    def share(turns: Turns) -> Mapping[str, float]:
        return {"unmoved_episodes": float(np.mean([len(places) < 2 for places in _gains_of(turns)]))}

    return replace(base, name="permuted", function=advantages, draws=True, tells=share, curriculum=False)


def last_gain(of: str = "igpo-separate") -> Estimator:
    """As ``of``, with the last gain of each episode alone: no credit to the turns before it.

    The other gains do not exist: they are members of no set, and no 0 is averaged in.

    >>> from igpo_gym.rewards.split import Split
    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    >>> last_gain()(turns).round(3).tolist()
    [2.0, 2.0, 1.0, -2.0, -1.0]
    """
    base = _wrapped(of)

    def advantages(turns: Turns, gamma: float) -> Floats:
        return base(last_gains(turns), gamma)

    return replace(base, name="last-gain", function=advantages, curriculum=False)


def noise_of(turns: Turns, seed: Seed = (0, 0)) -> Floats:
    """[turns]: the draws of :func:`noise`, 0 where there is none."""
    drawn = np.random.default_rng(seed).standard_normal(len(turns))
    return np.where(np.repeat(_equal_outcomes(turns), turns.lengths) & ~turns.lasts, drawn, 0.0)


def moved_gains(turns: Turns, seed: Seed = (0, 0)) -> Floats:
    """[turns]: the gains where :func:`permuted` has them."""
    generator, gains = np.random.default_rng(seed), turns.gains.copy()
    for places in _gains_of(turns):
        gains[places] = gains[places[derangement(len(places), generator)]]
    return gains


def last_gains(turns: Turns) -> Turns:
    """The turns with the last gain of each episode alone."""
    kept = np.zeros(len(turns), dtype=np.bool_)
    kept[[places[-1] for places in _gains_of(turns) if len(places)]] = True
    return replace(turns, gains=np.where(kept, turns.gains, 0.0), exists=kept)


def derangement(size: int, generator: np.random.Generator) -> Ints:
    """A permutation of ``range(size)`` that leaves nothing at its place, drawn uniformly; of one thing, it.

    >>> sorted(derangement(4, np.random.default_rng(0)).tolist()), derangement(1, np.random.default_rng(0))
    ([0, 1, 2, 3], array([0]))
    """
    while True:
        drawn = generator.permutation(size)
        if size < 2 or not (drawn == np.arange(size)).any():
            return drawn


def _equal_outcomes(turns: Turns) -> Bools:
    """[episodes]: whose group has outcomes that do not differ."""
    _, which = np.unique(turns.groups, return_inverse=True)
    highest, lowest = np.full(which.max() + 1, -np.inf), np.full(which.max() + 1, np.inf)
    np.fmax.at(highest, which, turns.outcomes)  # nan, an aborted episode, is left out
    np.fmin.at(lowest, which, turns.outcomes)
    return np.asarray((highest - lowest)[which] < 1e-8) & ~np.isnan(turns.outcomes)


def _gains_of(turns: Turns) -> list[Ints]:
    """For each episode the places of its gains among all turns."""
    owners = turns.episodes[turns.exists]
    return np.split(np.flatnonzero(turns.exists), np.searchsorted(owners, range(1, len(turns.lengths))))


def _wrapped(of: str) -> Estimator:
    base: Estimator = make("estimator", *read_call(of, "permuted(of=igpo-separate)"))
    if base.draws or base.clip_scale is not None:
        raise SpecError(
            f"a control wraps an estimator that draws nothing and whose clip bounds are fixed, not {of!r}"
        )
    return base
