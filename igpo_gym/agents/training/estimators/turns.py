"""The turns of a batch of episodes as arrays, and what estimators do with them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from igpo_gym.rewards.split import Split

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

NEARLY_ZERO = 1e-4
"""An advantage smaller than this teaches nothing."""


@dataclass(frozen=True, slots=True)
class Turns:
    """The gains and outcomes of some episodes: of shape [turns], episode after episode, or [episodes].

    Gains and outcomes are told apart by where they stand, never by their values: a gain of exactly 0 is one.
    Raises ValueError for arrays of different lengths, and without episodes.

    >>> turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), None)], groups=["q", "q"])
    >>> turns.lengths.tolist(), turns.exists.tolist()
    ([3, 2], [True, True, False, True, False])
    >>> turns.ended.tolist(), turns.rewards[:3].tolist()
    ([True, False], [0.3, 0.1, 1.0])
    """

    gains: Floats
    """[turns]; 0 where there is none."""
    exists: Bools
    """[turns]: whether the turn has a gain. Others are members of no set of gains."""
    outcomes: Floats
    """[episodes]; nan for an episode that was aborted, which estimators leave out."""
    groups: Ints
    """[episodes]: whose rollouts are compared; the same number for all episodes of a question."""
    lengths: Ints
    """[episodes]: how many turns each has."""
    states: Ints | None = None
    """[turns]: equal numbers where the agent stood in the same state before its turn."""

    def __post_init__(self) -> None:
        turns = {len(each) for each in (self.gains, self.exists, self.states) if each is not None}
        episodes = {len(each) for each in (self.outcomes, self.groups, self.lengths)}
        if turns != {self.lengths.sum()} or len(episodes) > 1:
            raise ValueError("gains (and states) need a number per turn, outcomes and groups one per episode")
        if not len(self.lengths):
            raise ValueError("there are no episodes")

    @classmethod
    def of(
        cls,
        splits: Sequence[Split],
        groups: Sequence[Hashable],
        states: Sequence[Sequence[Hashable]] | None = None,
    ) -> Turns:
        """From one split, one group and (if wanted) one list of states per episode.

        Groups and states may be anything that can be compared: question ids, texts. Raises ValueError for an
        ended episode without turns, for a number that is not finite, and where the lists do not match.
        """
        if len(groups) != len(splits):
            raise ValueError(f"{len(splits)} episodes need a group each, but there are {len(groups)}")
        if states is not None and [len(each) for each in states] != [each.turns for each in splits]:
            raise ValueError("each turn needs a state, or none does")
        for place, each in enumerate(splits):
            if not each.turns and each.outcome is not None:
                raise ValueError(f"episode {place} has an outcome, but no turn")
            for value in (*each.gains, each.outcome):
                if value is not None and not math.isfinite(value):
                    raise ValueError(f"episode {place} was paid {value}, which is no finite number: {each}")
        gains = [gain for each in splits for gain in (*each.gains, None)[: each.turns]]
        return cls(
            gains=np.array([gain or 0.0 for gain in gains], dtype=np.float64),
            exists=np.array([gain is not None for gain in gains], dtype=np.bool_),
            outcomes=np.array([np.nan if s.outcome is None else s.outcome for s in splits], dtype=np.float64),
            groups=_numbered(groups),
            lengths=np.array([each.turns for each in splits], dtype=np.int64),
            states=None if states is None else _numbered(state for each in states for state in each),
        )

    def __len__(self) -> int:
        """How many turns there are."""
        return len(self.gains)

    @property
    def ended(self) -> Bools:
        """[episodes]: which have an outcome."""
        return ~np.isnan(self.outcomes)

    @property
    def compared(self) -> Bools:
        """[episodes]: which have an outcome, and peers that have one too."""
        _, which = np.unique(self.groups, return_inverse=True)
        members = np.bincount(which, self.ended)
        return self.ended & (members[which] > 1)

    @property
    def episodes(self) -> Ints:
        """[turns]: the place of each turn's episode."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @property
    def turn_groups(self) -> Ints:
        """[turns]: the group of each turn's episode."""
        return np.repeat(self.groups, self.lengths)

    @property
    def numbers(self) -> Ints:
        """[turns]: the place of each turn in its episode, from 0."""
        starts = np.cumsum(self.lengths) - self.lengths
        return np.arange(len(self)) - np.repeat(starts, self.lengths)

    @property
    def firsts(self) -> Bools:
        """[turns]: which are the first of their episode."""
        return np.asarray(self.numbers == 0)

    @property
    def lasts(self) -> Bools:
        """[turns]: which are the last of their episode."""
        return np.asarray(self.numbers == np.repeat(self.lengths - 1, self.lengths))

    @property
    def rewards(self) -> Floats:
        """[turns]: the reward of a turn as one number: its gain, and on the last turn the outcome too."""
        return self.gains + self.at_end(self.outcomes)

    @property
    def returns(self) -> Floats:
        """[episodes]: all that an episode was paid, undiscounted; nan where it was aborted."""
        return np.bincount(self.episodes, self.rewards, len(self.lengths)).astype(np.float64)

    def at_end(self, values: Floats) -> Floats:
        """Values of episodes, [episodes], on their last turns, [turns]; all other turns have 0."""
        return np.where(self.lasts, np.repeat(values, self.lengths), 0.0)

    def of_episodes(self, chosen: Bools) -> Turns:
        """The turns of some of the episodes, [episodes]."""
        kept = np.repeat(chosen, self.lengths)
        return Turns(
            self.gains[kept],
            self.exists[kept],
            self.outcomes[chosen],
            self.groups[chosen],
            self.lengths[chosen],
            None if self.states is None else self.states[kept],
        )

    def by_episode(self, values: Floats) -> list[Floats]:
        """Values of turns, [turns], as an array for each episode."""
        return np.split(values, np.cumsum(self.lengths)[:-1])


def _numbered(names: Iterable[Hashable]) -> Ints:
    """A number for each name, equal ones alike."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def standardized(
    values: Floats, *sets: Ints, among: Bools | None = None, center: bool = True, scale: bool = True
) -> Floats:
    """``z(x | set) = (x - mean) / (std + 1e-6)`` within each set, ``std = sqrt(population variance + 1e-8)``.

    A set is all that agree in every one of ``sets`` (everything where there is none). With ``among``, only
    those values count, and the others become 0. The constants are those of IGPO's published code; the std of
    a set of one is 1, so that its z is 0. Without ``center`` the mean is not taken off, without ``scale`` the
    std does not divide.

    >>> standardized(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1])).round(3).tolist()
    [-1.0, 1.0, 0.0]
    """
    chosen = np.ones(len(values), dtype=np.bool_) if among is None else among
    result = np.zeros(len(values))
    if not chosen.any():
        return result
    x = values[chosen]
    keys = np.stack([np.zeros(len(x), dtype=np.int64), *(each[chosen] for each in sets)])
    _, which = np.unique(keys, axis=1, return_inverse=True)
    which = which.reshape(-1)
    counts = np.bincount(which)
    centered = x - (np.bincount(which, x) / counts)[which]
    std = np.sqrt(np.bincount(which, centered**2) / counts + 1e-8)
    std[counts == 1] = 1.0
    result[chosen] = (centered if center else x) / ((std[which] + 1e-6) if scale else 1.0)
    return result


def accumulated(turns: Turns, values: Floats, gamma: float | Floats) -> Floats:
    """``sum_{k >= t} gamma^(k-t) * value_k`` within each episode: a turn answers for all that follow it.

    ``gamma`` is one discount, or one of each episode, [episodes].

    >>> turns = Turns.of([Split((0.5, 0.25), 1.0)], groups=["q"])
    >>> accumulated(turns, turns.rewards, 1.0).tolist()
    [1.75, 1.25, 1.0]
    """
    discounts = np.repeat(np.broadcast_to(gamma, turns.lengths.shape), turns.lengths)
    totals = np.array(values, dtype=np.float64)
    lasts = turns.lasts
    for turn in range(len(totals) - 2, -1, -1):
        if not lasts[turn]:
            totals[turn] += discounts[turn] * totals[turn + 1]
    return totals


def over_leaves(turns: Turns, values: Floats, owners: Ints) -> Floats:
    """Values of turns, [turns], with the mean over all episodes behind a turn that branches share.

    ``owners`` has for each turn the place of the turn that it is: equal numbers are one turn. Episodes that
    were aborted are left out of the mean; a turn with no others behind it has 0.

    >>> turns = Turns.of([Split((0.2, 0.1), 1.0), Split((0.2,), 0.0)], groups=["q", "q"])
    >>> over_leaves(turns, np.array([1.0, 2.0, 3.0, -2.0, 5.0]), np.array([0, 1, 2, 0, 4])).tolist()
    [-0.5, 2.0, 3.0, -0.5, 5.0]
    """
    counted = np.repeat(turns.ended, turns.lengths).astype(np.float64)
    sums = np.bincount(owners, values * counted, len(values))
    return np.asarray((sums / np.maximum(np.bincount(owners, counted, len(values)), 1.0))[owners])


def per_token(turns: Turns, values: Floats, token_turns: Sequence[npt.ArrayLike]) -> list[Floats]:
    """The value of each token: its turn's, and 0 where the agent did not write.

    ``token_turns`` holds, for each episode in order, the number of each token's turn, from 1, and 0 for what
    the environment wrote (``TokenRow.turn``). A turn may have no token: an agent may write nothing. Raises
    ValueError where tokens or episodes have no rewards: to drop one would shift all credit in silence.

    >>> turns = Turns.of([Split((0.5,), 1.0)], groups=["q"])
    >>> [tokens.tolist() for tokens in per_token(turns, turns.rewards, [[0, 1, 1, 0, 2]])]
    [[0.0, 0.5, 0.5, 0.0, 1.0]]
    """
    if len(token_turns) != len(turns.lengths):
        raise ValueError(f"tokens of {len(token_turns)} episodes, but rewards of {len(turns.lengths)}")
    spread = []
    for own, tokens in zip(turns.by_episode(values), token_turns, strict=True):
        numbers = np.asarray(tokens, dtype=np.int64)
        if not 0 <= numbers.min(initial=0) <= numbers.max(initial=0) <= len(own):
            raise ValueError(f"{len(own)} turns were rewarded, but tokens belong to turn {numbers.max()}")
        spread.append(np.append(0.0, own)[numbers])
    return spread


def collapse_rate(turns: Turns, advantages: Floats) -> float:
    """The share of groups all of whose advantages are nearly zero: they taught nothing.

    >>> turns = Turns.of([Split((), 1.0), Split((), 1.0)], groups=["q", "q"])
    >>> collapse_rate(turns, np.zeros(2))
    1.0
    """
    names, which = np.unique(turns.groups, return_inverse=True)
    largest = np.zeros(len(names))
    np.maximum.at(largest, which[turns.episodes], np.abs(advantages))
    return float((largest < NEARLY_ZERO).mean())


def zero_std_rate(turns: Turns) -> float:
    """The share of groups whose episodes have equal returns: TRL's ``frac_reward_zero_std``.

    A group with fewer than two ended episodes is one of them.

    >>> zero_std_rate(Turns.of([Split((), 1.0), Split((), 0.0)], groups=["q", "q"]))
    0.0
    """
    returns = turns.returns
    groups = (returns[(turns.groups == group) & turns.ended] for group in np.unique(turns.groups))
    return float(np.mean([len(members) < 2 or np.ptp(members) < 1e-8 for members in groups]))
