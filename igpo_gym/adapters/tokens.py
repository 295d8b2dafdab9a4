"""What adapters that train on tokens share: from sampled ids to messages, and from splits to rows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from igpo_gym.agents.training.estimators import (
    DEFAULT,
    Estimator,
    Floats,
    Seed,
    Turns,
    per_token,
    resolve_estimator,
)
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import EndReason, Episode
from igpo_gym.errors import SpecError
from igpo_gym.rewards.functions import RewardFunction
from igpo_gym.rewards.split import Split, split


def end_unfinished(engine: Engine, episodes: Sequence[Episode]) -> None:
    """End the episodes in whose rows there is no room for another message; one without a turn is aborted."""
    for episode in episodes:
        if not episode.done:
            engine.end(episode, EndReason.CONTEXT_EXHAUSTED if episode.turns else EndReason.ABORTED)


# Gains and outcome handed over as numbers, by libraries that carry values of our own.


def split_fields(split: Split) -> dict[str, Any]:
    """A split as JSON values: ``turn_gains``, ``outcome`` and ``last_gain``."""
    return {"turn_gains": list(split.gains), "outcome": split.outcome, "last_gain": split.last_gain}


def episode_fields(episode: Episode, reward: RewardFunction) -> dict[str, Any]:
    """An ended episode as JSON values: its split, ``turn_rewards``, and ``beliefs``, as levels: b_0 and one
    more for each turn that did not answer, so that whoever differences them does so once."""
    return {
        **split_fields(split(episode, reward)),
        "turn_rewards": episode.turn_rewards,
        "beliefs": [belief.prob for belief in episode.beliefs],
    }


def read_split(fields: Mapping[str, Any]) -> Split:
    """The split that :func:`split_fields` wrote; other fields are left alone.

    >>> read_split(split_fields(Split((0.3, 0.1), 1.0))) == Split((0.3, 0.1), 1.0)
    True
    """
    return Split(tuple(fields["turn_gains"]), fields["outcome"], fields["last_gain"])


def turn_advantages(
    splits: Sequence[Split],
    groups: Sequence[Hashable],
    estimator: str | Estimator = DEFAULT,
    gamma: float = 1.0,
    seed: Seed | None = None,
) -> list[Floats]:
    """The advantage of each turn of a batch of episodes, an array [turns] for each episode.

    ``groups`` has a name for each episode: those of one name are compared. ``seed``, of the run and of the
    batch, is for an estimator that draws at random (a control). Raises SpecError for an estimator that there
    is not, that needs states, that draws and has no seed, or that ignores gains which were paid.

    >>> splits = [Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)]
    >>> [own.round(3).tolist() for own in turn_advantages(splits, ["q", "q"])]
    [[1.926, 0.537, 1.0], [-1.926, -1.0]]
    """
    estimate = resolve_estimator(estimator)
    if estimate.needs_states:
        raise SpecError(f"{estimate.name} compares states, which are not handed over")
    if estimate.draws and seed is None:
        raise SpecError(f"{estimate.name} draws at random: give seed=(of the run, number of the batch)")
    turns = Turns.of(splits, groups)
    if turns.gains.any() and not estimate.uses_gains:
        raise SpecError(f"{estimate.name} takes the outcome alone, but these episodes were paid gains")
    return turns.by_episode(estimate(turns, gamma, seed=seed))


# Gains and outcome on the tokens of a row, for verl, where an estimator gets rewards and a mask alone. A run
# of tokens with mask 1 is a turn, since the environment replies between two turns.

NO_GAIN = -0.0
"""What stands for the gain of a turn that no term counts: 0 in every sum, and told from a gain of 0."""


def placed_rewards(mask: npt.ArrayLike, split: Split, name: str) -> npt.NDArray[np.float32]:
    """The rewards of an episode on the tokens of its row, [tokens].

    A turn's gain (``NO_GAIN`` where it has none) lies on the first token of its run, the outcome on the last
    token of the last run; where that run has one token, it carries the sum. Raises ValueError, with the
    ``name`` of the episode, where there are not as many runs as turns, and for an episode without an outcome.

    >>> placed_rewards([1, 1, 0, 1, 1, 1], Split((0.5,), 1.0), "q").tolist()
    [0.5, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    own = np.asarray(mask, dtype=np.bool_)
    starts = np.flatnonzero(_starts(own))
    if split.outcome is None or len(starts) != split.turns:
        raise ValueError(
            f"the episode {name!r} has {split.turns} turns and {len(starts)} stretches of tokens that the "
            f"policy wrote, and its outcome is {split.outcome}: it cannot be learned from"
        )
    placed, last = np.zeros(len(own)), np.flatnonzero(own)[-1]
    placed[starts[: len(split.gains)]] = [gain or 0.0 for gain in split.gains]
    placed[last] += split.outcome
    rounded = placed.astype(np.float32) + np.float32(0.0)  # a gain that is rounded to 0 is not NO_GAIN
    without = [start for start, gain in zip(starts, split.gains, strict=False) if gain is None]
    rounded[[start for start in without if start != last]] = NO_GAIN
    return rounded


def found_split(mask: npt.ArrayLike, rewards: npt.ArrayLike, last_gain: bool) -> Split:
    """The split that lies on the tokens of a row; ``last_gain`` says whether the last turn's gain exists.

    A last run of one token carries gain and outcome in one, which counts as the outcome. Raises ValueError
    for rewards that lie where none belongs: a KL penalty in the reward, or a last gain that is not expected.

    >>> found_split([1, 1, 0, 1, 1, 1], [0.5, 0, 0, 0, 0, 1], last_gain=False)
    Split(gains=(0.5,), outcome=1.0, last_gain=False)
    """
    own, paid = np.asarray(mask, dtype=np.bool_), np.asarray(rewards, dtype=np.float64)
    starts, last = np.flatnonzero(_starts(own)), np.flatnonzero(own)[-1]
    exists = last_gain and starts[-1] != last
    with_gain = starts if exists else starts[:-1]
    elsewhere = np.delete(paid, [*with_gain, last])
    if elsewhere.any():
        raise ValueError(
            "rewards lie on tokens where neither a gain nor an outcome belongs: algorithm.use_kl_in_reward "
            "must be off, and a reward that pays the last turn a gain needs the estimator NAME-last"
        )
    none = (paid == 0) & np.signbit(paid)  # NO_GAIN
    gains = [None if none[place] else float(paid[place]) for place in with_gain]
    return Split(tuple(gains), float(paid[last]) + 0.0, bool(exists))


def row_advantages(
    estimator: Estimator,
    masks: npt.ArrayLike,
    rewards: npt.ArrayLike,
    groups: Sequence[Hashable],
    last_gain: bool,
    gamma: float = 1.0,
) -> Floats:
    """The advantage of each token of a batch of rows, [rows, tokens]; 0 where the policy did not write.

    ``masks`` and ``rewards`` are [rows, tokens], of :func:`placed_rewards`; ``groups`` has a name for each
    row. Rows without a token of the policy (what a batch is padded with) count among no others.
    """
    own, paid = np.asarray(masks, dtype=np.bool_), np.asarray(rewards, dtype=np.float64)
    rows = np.flatnonzero(own.any(1)).tolist()
    spread = np.zeros(own.shape)
    if len(rows):
        numbers = turn_numbers(own)
        splits = [found_split(own[row], paid[row], last_gain) for row in rows]
        turns = Turns.of(splits, [groups[row] for row in rows])
        spread[rows] = per_token(turns, estimator(turns, gamma), list(numbers[rows]))
    return spread


def turn_numbers(mask: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The number of each token's turn, from 1, in the shape of the mask; 0 where the policy did not write.

    >>> turn_numbers([0, 1, 1, 0, 1]).tolist()
    [0, 1, 1, 0, 2]
    """
    own = np.asarray(mask, dtype=np.bool_)
    return np.where(own, np.cumsum(_starts(own), axis=-1), 0)


def _starts(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Where runs of True begin along the last axis."""
    before = np.zeros_like(mask)
    before[..., 1:] = mask[..., :-1]
    return mask & ~before
