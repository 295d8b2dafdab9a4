"""Advantages: from the rewards of turns to what each turn is worth beside its peers.

Pure functions over turn-level arrays, for any trainer:

>>> turns = Turns.of([[0.0, 1.0], [0.3, 1.0]], groups=["q", "q"])  # two episodes of one question
>>> ADVANTAGES["grpo"](turns).round(3).tolist()  # both are right, so the outcome teaches nothing
[0.0, 0.0, 0.0, 0.0]
>>> ADVANTAGES["igpo-separate"](turns).round(3).tolist()
[-1.0, 0.0, 1.0, 0.0]

Every estimator gives one number per turn, which all tokens that the agent wrote in that turn share
(:func:`per_token`), and takes ``gamma``, the discount per turn. In the formulas ``r_t`` is the reward of turn
``t``; the last turn's, ``o = r_T``, is the episode's *outcome*, all others are *gains*. What is which is told
by the turn's place, never by its value: a gain of exactly 0 is a gain. ``z(x | set)`` is
:func:`standardized`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEARLY_ZERO = 1e-4
"""An advantage smaller than this teaches nothing."""


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of some episodes, as arrays of shape [turns]: episode after episode, each in its order.

    Raises ValueError for arrays of different lengths or without turns, and for an episode whose turns are
    apart.
    """

    rewards: Floats
    groups: Ints
    """Whose rollouts are compared: the same number for all episodes of a question."""
    episodes: Ints
    states: Ints | None = None
    """Equal numbers where the agent stood in the same state before its turn; for ``gigpo`` alone."""

    def __post_init__(self) -> None:
        lengths = {len(array) for array in (self.rewards, self.groups, self.episodes)}
        if len(lengths | ({len(self.states)} if self.states is not None else set())) > 1:
            raise ValueError("rewards, groups, episodes and states must be of one length, a number per turn")
        if not len(self.rewards):
            raise ValueError("there are no turns")
        if len(np.unique(self.episodes)) != np.count_nonzero(self.firsts):
            raise ValueError("the turns of an episode must stand together")

    @classmethod
    def of(
        cls,
        rewards: Sequence[Sequence[float]],
        groups: Sequence[Hashable],
        states: Sequence[Sequence[Hashable]] | None = None,
    ) -> Turns:
        """From one list of rewards, one group and (if wanted) one list of states per episode.

        Groups and states may be anything that can be compared: question ids, texts. Raises ValueError for an
        episode without turns, and where the lists do not match.
        """
        if len(groups) != len(rewards) or not all(len(episode) for episode in rewards):
            raise ValueError("each episode needs a group and the reward of at least one turn")
        if states is not None and [len(each) for each in states] != [len(each) for each in rewards]:
            raise ValueError("each turn needs a state, or none does")
        lengths = [len(episode) for episode in rewards]
        return cls(
            rewards=np.array([reward for episode in rewards for reward in episode], dtype=np.float64),
            groups=np.repeat(_numbered(groups), lengths),
            episodes=np.repeat(np.arange(len(rewards)), lengths),
            states=None if states is None else _numbered(state for episode in states for state in episode),
        )

    @property
    def firsts(self) -> Bools:
        """Which turns are the first of their episode."""
        return np.append(True, self.episodes[1:] != self.episodes[:-1])

    @property
    def lasts(self) -> Bools:
        """Which turns are the last of their episode: those with the outcome."""
        return np.append(self.episodes[1:] != self.episodes[:-1], True)

    @property
    def numbers(self) -> Ints:
        """The place of each turn in its episode, from 0."""
        places = np.arange(len(self.episodes))
        return places - np.maximum.accumulate(np.where(self.firsts, places, 0))


def _numbered(names: Iterable[Hashable]) -> Ints:
    """A number for each name, equal ones alike."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def standardized(values: Floats, *sets: Ints | Bools, among: Bools | None = None) -> Floats:
    """``z(x | set) = (x - mean) / (std + 1e-6)`` within each set, ``std = sqrt(population variance + 1e-8)``.

    A set is all that agree in every one of ``sets`` (everything where there is none). With ``among``, only
    those values count, and the others become 0. The constants are those of IGPO's published code; a set of
    one gives 0.
    """
    chosen = np.ones(len(values), dtype=np.bool_) if among is None else among
    result = np.zeros(len(values))
    if not chosen.any():
        return result
    x = values[chosen]
    keys = np.stack([np.zeros(len(x), dtype=np.int64), *(each[chosen].astype(np.int64) for each in sets)])
    _, which = np.unique(keys, axis=1, return_inverse=True)
    which = which.reshape(-1)
    counts = np.bincount(which)
    centered = x - (np.bincount(which, x) / counts)[which]
    std = np.sqrt(np.bincount(which, centered**2) / counts + 1e-8)
    std[counts == 1] = 1.0
    result[chosen] = centered / (std[which] + 1e-6)
    return result


def accumulated(turns: Turns, values: Floats, gamma: float) -> Floats:
    """``sum_{k >= t} gamma^(k-t) * value_k`` within each episode: a turn answers for all that follow it."""
    totals = np.array(values, dtype=np.float64)
    lasts = turns.lasts
    for turn in range(len(totals) - 2, -1, -1):
        if not lasts[turn]:
            totals[turn] += gamma * totals[turn + 1]
    return totals


def igpo(
    turns: Turns,
    gamma: float = 1.0,
    normalize: Literal["joint", "separate"] = "joint",
    weights: tuple[float, float] = (1.0, 1.0),
) -> Floats:
    """IGPO (2510.14967): ``A_t = z(r_t | group)``, summed over the turn and those after it.

    "joint" (the paper) normalizes a group's gains and outcomes together, "separate" (the default of the
    authors' later code) each among themselves. ``weights`` are those of gains and outcomes, see
    :func:`igpo_gym.rewards.curriculum_weights`. They multiply the normalized rewards; the authors' code
    multiplies them before it normalizes, which in separate normalization has no effect.
    """
    kinds = (turns.lasts,) if normalize == "separate" else ()
    values = standardized(turns.rewards, turns.groups, *kinds)
    return accumulated(turns, values * np.where(turns.lasts, weights[1], weights[0]), gamma)


def grpo(turns: Turns, gamma: float = 1.0) -> Floats:
    """GRPO (2402.03300): ``z(o | group)`` on every turn; gains do not count."""
    return accumulated(turns, standardized(turns.rewards, turns.groups, among=turns.lasts), gamma)


def rloo(turns: Turns, gamma: float = 1.0) -> Floats:
    """RLOO (2402.14740): ``o - mean of the group's other outcomes`` on every turn.

    An episode that is alone in its group has no baseline: its advantage is its outcome.
    """
    last = turns.lasts
    outcomes, groups = turns.rewards[last], turns.groups[last]
    _, which, counts = np.unique(groups, return_inverse=True, return_counts=True)
    others = (counts - 1)[which]
    baseline = (np.bincount(which, outcomes)[which] - outcomes) / np.maximum(others, 1)
    values = np.zeros(len(turns.rewards))
    values[last] = outcomes - baseline
    return accumulated(turns, values, gamma)


def reinforce_plus_plus(turns: Turns, gamma: float = 1.0) -> Floats:
    """REINFORCE++ (2501.03262): ``z(o | batch)`` on every turn; gains do not count."""
    return accumulated(turns, standardized(turns.rewards, among=turns.lasts), gamma)


def rebn(turns: Turns, gamma: float = 1.0) -> Floats:
    """Return batch normalization (GEM, 2510.01051): ``z(sum_{k >= t} gamma^(k-t) r_k | batch)``."""
    return standardized(accumulated(turns, turns.rewards, gamma))


def mt_grpo(turns: Turns, gamma: float = 1.0, outcome_weight: float = 1.0) -> Floats:
    """MT-GRPO (2505.11821): a turn's own gain and the outcome.

    ``A_t = z(r_t | group, t) + outcome_weight * gamma^(T-t) * z(o | group)``, ``A_T = z(o | group)``.

    Normalizing by the number of the turn is biased where the policy chooses when to stop: with rewards that
    say nothing, the length of episodes drifts.
    """
    last = turns.lasts
    own = standardized(turns.rewards, turns.groups, turns.numbers, among=~last)
    outcome = grpo(turns, gamma)
    return np.where(last, outcome, own + outcome_weight * outcome)


def gigpo(turns: Turns, gamma: float = 1.0, step_weight: float = 1.0) -> Floats:
    """GiGPO (2505.10978): the episode among its group, and the turn among those from the same state.

    ``A_t = z(sum_k r_k | group) + step_weight * z(sum_{k >= t} gamma^(k-t) r_k | group, state)``. A state met
    once adds 0. Raises ValueError without ``turns.states``.
    """
    if turns.states is None:
        raise ValueError("gigpo compares turns from the same state: give Turns its states")
    first = turns.firsts
    episodes = standardized(accumulated(turns, turns.rewards, 1.0), turns.groups, among=first)[first]
    own = standardized(accumulated(turns, turns.rewards, gamma), turns.groups, turns.states)
    return np.asarray(episodes[np.cumsum(first) - 1] + step_weight * own)


def a2tgpo(turns: Turns, gamma: float = 1.0, gain_weight: float = 1.0) -> Floats:
    """A2TGPO (2605.06200): gains among the group's same turns, summed and scaled by how many there are.

    ``G_t = z(r_t | group, t)`` over the gains, ``D_t = sum_{t <= k < T} gamma^(k-t) G_k``,
    ``A_t = z(o | group) + gain_weight * D_t / sqrt(T - t)``; the last turn has no ``D``. The outcome is not
    discounted. Use it with :func:`a2tgpo_clip_scale`; its bias is that of :func:`mt_grpo`.
    """
    last = turns.lasts
    gains = standardized(turns.rewards, turns.groups, turns.numbers, among=~last)
    terms = accumulated(turns, (~last).astype(np.float64), 1.0)
    return grpo(turns) + gain_weight * accumulated(turns, gains, gamma) / np.sqrt(np.maximum(terms, 1.0))


def a2tgpo_clip_scale(turns: Turns) -> Floats:
    """A2TGPO's factor on the clip range: ``1 + 0.3 * (2 * sigmoid(G_t) - 1)``; 1 at the last turn.

    A turn that informed more than its peers may move the policy further.
    """
    gains = standardized(turns.rewards, turns.groups, turns.numbers, among=~turns.lasts)
    return 1.0 + 0.3 * np.tanh(gains / 2)  # 2 * sigmoid(x) - 1


class Estimator(Protocol):
    """Turns to advantages, both of shape [turns]."""

    def __call__(self, turns: Turns, gamma: float = 1.0) -> Floats:
        """The advantages, discounted by ``gamma`` per turn."""
        ...


ADVANTAGES: dict[str, Estimator] = {
    "igpo-joint": partial(igpo, normalize="joint"),
    "igpo-separate": partial(igpo, normalize="separate"),
    "grpo": grpo,
    "rloo": rloo,
    "reinforce++": reinforce_plus_plus,
    "rebn": rebn,
    "mt-grpo": mt_grpo,
    "gigpo": gigpo,
    "a2tgpo": a2tgpo,
}
"""The estimators by name."""


def per_token(turns: Turns, values: Floats, token_turns: Sequence[npt.ArrayLike]) -> list[Floats]:
    """The value of each token: its turn's, and 0 where the agent did not write.

    ``token_turns`` holds, for each episode in order, the number of each token's turn, from 1, and 0 for what
    the environment wrote (``TokenRow.turn``). A turn may have no token: an agent may write nothing. Raises
    ValueError where tokens or episodes have no rewards: to drop one would shift all credit in silence.
    """
    starts = np.flatnonzero(turns.firsts)
    if len(token_turns) != len(starts):
        raise ValueError(f"tokens of {len(token_turns)} episodes, but rewards of {len(starts)}")
    spread = []
    for own, tokens in zip(np.split(values, starts[1:]), token_turns, strict=True):
        numbers = np.asarray(tokens, dtype=np.int64)
        if not 0 <= numbers.min(initial=0) <= numbers.max(initial=0) <= len(own):
            raise ValueError(f"{len(own)} turns were rewarded, but tokens belong to turn {numbers.max()}")
        spread.append(np.append(0.0, own)[numbers])
    return spread


def collapse_rate(turns: Turns, advantages: Floats) -> float:
    """The share of groups all of whose advantages are nearly zero: they taught nothing."""
    _, which = np.unique(turns.groups, return_inverse=True)
    largest = np.zeros(which.max() + 1)
    np.maximum.at(largest, which, np.abs(advantages))
    return float((largest < NEARLY_ZERO).mean())


def _unscaled(turns: Turns) -> Floats:
    return np.ones(len(turns.rewards))


CLIP_SCALES: dict[str, Callable[[Turns], Floats]] = {
    name: a2tgpo_clip_scale if name == "a2tgpo" else _unscaled for name in ADVANTAGES
}
"""What each estimator multiplies the clip range with, [turns]."""
