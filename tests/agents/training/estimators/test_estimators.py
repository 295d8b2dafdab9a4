from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.training.estimators import (
    ESTIMATORS,
    Estimator,
    Split,
    Turns,
    check_reward,
    resolve_estimator,
)
from igpo_gym.errors import SpecError
from igpo_gym.rewards import curriculum_weights, resolve_reward

# Two questions; the second episode answers at once, and one gain is exactly 0.
SPLITS = [Split((0.2, 0.0), 1.0), Split((), 0.0), Split((0.4,), 0.5), Split((0.1,), 0.0)]
GROUPS = ["a", "a", "b", "b"]
STATES = [["a", "x", "y"], ["a"], ["b", "z"], ["b", "z"]]


@pytest.fixture
def turns() -> Turns:
    return Turns.of(SPLITS, GROUPS, STATES)


def advantages(name: str, turns: Turns, gamma: float = 1.0, **weights: Any) -> list[float]:
    values: list[float] = resolve_estimator(name)(turns, gamma, **weights).tolist()
    return values


def test_grpo_by_hand(turns: Turns) -> None:
    # Outcomes 1 and 0: mean 0.5, standard deviation 0.5. Outcomes 0.5 and 0: 0.25 and 0.25.
    assert advantages("grpo", turns) == pytest.approx([1, 1, 1, -1, 1, 1, -1, -1], abs=1e-4)


def test_igpo_joint_by_hand(turns: Turns) -> None:
    # Group a: 0.2, 0, 1, 0 have the mean 0.3 and the variance (0.01 + 0.09 + 0.49 + 0.09) / 4 = 0.17.
    a = [x / math.sqrt(0.17) for x in (-0.1, -0.3, 0.7, -0.3)]
    # Group b: 0.4, 0.5, 0.1, 0 have the mean 0.25 and the variance 0.0425.
    b = [x / math.sqrt(0.0425) for x in (0.15, 0.25, -0.15, -0.25)]
    expected = [a[0] + a[1] + a[2], a[1] + a[2], a[2], a[3], b[0] + b[1], b[1], b[2] + b[3], b[3]]
    assert advantages("igpo-joint", turns) == pytest.approx(expected, abs=1e-4)


def test_igpo_separate_by_hand(turns: Turns) -> None:
    # Group a: the gains 0.2 and 0 give 1 and -1, as do the outcomes. Group b: the same of 0.4 and 0.1.
    assert advantages("igpo-separate", turns) == pytest.approx([1, 0, 1, -1, 2, 1, -2, -1], abs=1e-4)
    assert advantages("igpo-separate", turns, 0.5) == pytest.approx(
        [1 - 0.5 + 0.25, -1 + 0.5, 1, -1, 1.5, 1, -1.5, -1], abs=1e-4
    )


def test_the_published_check_of_igpo_separate() -> None:
    turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], ["q", "q"])
    assert advantages("igpo-separate", turns) == pytest.approx([1.926, 0.537, 1, -1.926, -1], abs=1e-3)


def test_the_gain_of_a_last_turn_is_one_of_the_gains() -> None:
    turns = Turns.of([Split((0.3, 0.1), 1.0, True), Split((0.05,), 0.0, True)], ["q", "q"])
    z = [x / math.sqrt(0.035 / 3) for x in (0.15, -0.05, -0.1)]
    expected = [z[0] + z[1] + 1, z[1] + 1, z[2] - 1]
    assert advantages("igpo-separate", turns) == pytest.approx(expected, abs=1e-4)
    assert advantages("igpo-raw", turns) == pytest.approx(
        [0.3 / math.sqrt(0.035 / 3) + 1, 0.1 / math.sqrt(0.035 / 3) + 1, 0.05 / math.sqrt(0.035 / 3) - 1],
        abs=1e-3,
    )
    # The second turn's gain has no peer; the first turn's 0.3 and 0.05 give 1 and -1.
    assert advantages("mt-grpo", turns) == pytest.approx([2, 1, -2], abs=1e-4)
    r = np.array([0.3, 1.1, 0.05])
    z = (r - r.mean()) / r.std()
    assert advantages("igpo-joint", turns) == pytest.approx([z[0] + z[1], z[1], z[2]], abs=1e-4)


def test_igpo_scaled_by_hand(turns: Turns) -> None:
    # All z-scores are 1 or -1: the mean sizes of gains and outcomes are equal.
    assert advantages("igpo-scaled", turns) == pytest.approx([1, 0, 1, -1, 2, 1, -2, -1], abs=1e-3)
    # Outcomes that are all equal still leave the gains 0.3 of their size; few gains grow at most tenfold.
    equal = Turns.of([Split((0.2,), 1.0), Split((0.1,), 1.0)], ["q", "q"])
    assert advantages("igpo-scaled", equal) == pytest.approx([0.3, 0, -0.3, 0], abs=1e-3)
    silent = [Split((0.0,) * 50, 1.0), Split((0.0,) * 49 + (0.1,), 0.0)]
    z = np.array([*[0.0] * 99, 0.1])
    z = (z - z.mean()) / z.std()
    factor = min(10.0, 1 / np.abs(z).mean())
    last = advantages("igpo-scaled", Turns.of(silent, ["q", "q"]))[-2]
    assert last == pytest.approx(factor * z[-1] - 1, abs=1e-3)
    none = Turns.of([Split((), 1.0), Split((), 0.0)], ["q", "q"])
    assert advantages("igpo-scaled", none) == pytest.approx([1, -1], abs=1e-3)


def test_igpo_raw_by_hand(turns: Turns) -> None:
    # Group a: gains 0.2 and 0 over their std 0.1; group b: 0.4 and 0.1 over 0.15. Nothing is accumulated.
    expected = [2 + 1, 0 + 1, 1, -1, 0.4 / 0.15 + 1, 1, 0.1 / 0.15 - 1, -1]
    assert advantages("igpo-raw", turns, 0.3) == pytest.approx(expected, abs=1e-3)
    assert advantages("igpo-raw(gain_weight=0.5)", turns)[0] == pytest.approx(2, abs=1e-3)


def test_an_outcome_weighs_at_least_its_floor_on_the_first_turn() -> None:
    turns = Turns.of([Split((0.0,) * 3, 1.0), Split((0.0,), 0.0)], ["q", "q"])
    got = advantages("igpo-separate(outcome_floor=0.5)", turns, gamma=0.01)
    gammas = 0.5 ** (1 / 4), 0.5 ** (1 / 2)
    assert got == pytest.approx([gammas[0] ** 3, gammas[0] ** 2, gammas[0], 1, -gammas[1], -1], abs=1e-4)
    assert got[0] > 0.5
    with pytest.raises(SpecError, match="outcome_floor must be between 0 and 1, not 2"):
        resolve_estimator("igpo-joint(outcome_floor=2)")


def test_rloo_by_hand() -> None:
    turns = Turns.of([Split((0.9,), 1.0), Split((), 0.0), Split((), 0.5)], ["q", "q", "q"])
    assert advantages("rloo", turns) == pytest.approx([0.75, 0.75, -0.75, 0.0])


def test_batch_normalized_estimators_by_hand(turns: Turns) -> None:
    outcomes = np.array([1.0, 0.0, 0.5, 0.0])
    z = (outcomes - outcomes.mean()) / outcomes.std()
    assert advantages("reinforce++", turns) == pytest.approx(z[[0, 0, 0, 1, 2, 2, 3, 3]], abs=1e-4)
    returns = np.array([1.2, 1.0, 1.0, 0.0, 0.9, 0.5, 0.1, 0.0])
    expected = (returns - returns.mean()) / returns.std()
    assert advantages("rebn", turns) == pytest.approx(expected, abs=1e-4)


def test_mt_grpo_by_hand(turns: Turns) -> None:
    # Group a has one first and one second gain: no peers, so they add nothing.
    assert advantages("mt-grpo(outcome_weight=0.5)", turns) == pytest.approx(
        [0.5, 0.5, 1, -1, 1 + 0.5, 1, -1 - 0.5, -1], abs=1e-4
    )


def test_gigpo_by_hand(turns: Turns) -> None:
    # Returns 1.2 and 0, 0.9 and 0.1, and from the shared states a, b and z: x and y are not shared.
    assert advantages("gigpo", turns) == pytest.approx(
        [0.6 + 0.6, 0.6, 0.6, -0.6 - 0.6, 0.4 + 0.4, 0.4 + 0.25, -0.4 - 0.4, -0.4 - 0.25]
    )
    assert advantages("gigpo(mode=mean_std_norm)", turns) == pytest.approx(
        [2, 1, 1, -2, 2, 2, -2, -2], abs=1e-4
    )
    with pytest.raises(ValueError, match="states"):
        advantages("gigpo", Turns.of(SPLITS, GROUPS))
    with pytest.raises(SpecError, match="mode must be mean_norm or mean_std_norm"):
        resolve_estimator("gigpo(mode=std)")


def test_a2tgpo_by_hand() -> None:
    turns = Turns.of([Split((0.2, 0.3), 1.0), Split((0.0, 0.1), 0.0)], ["q", "q"])
    # All gains are +1 or -1 among their like: D = 2 over two terms, then 1 over one.
    assert advantages("a2tgpo(alpha=0.5)", turns) == pytest.approx(
        [1 + math.sqrt(2) / 2, 1.5, 1, -1 - math.sqrt(2) / 2, -1.5, -1], abs=1e-4
    )
    assert advantages("a2tgpo", turns, 0.5)[0] == pytest.approx(1 + 0.3 * 1.5 / math.sqrt(2), abs=1e-4)
    up = 1 + 0.3 * (2 / (1 + math.exp(-1)) - 1)
    scales = np.array([up, up, 1, 2 - up, 2 - up, 1])
    estimator = resolve_estimator("a2tgpo")
    low, high = estimator.clips(turns, 0.2)
    assert low == pytest.approx(3e-3 * scales, abs=1e-7)
    assert high == pytest.approx(4e-3 * scales, abs=1e-7)
    assert estimator.ratio == "turn"
    wide = resolve_estimator("a2tgpo(clip_low=0.1, clip_high=0.2, clip_width=0)")
    assert [each.tolist() for each in wide.clips(turns, 0.5)] == [[0.1] * 6, [0.2] * 6]


def test_vine_takes_values_as_they_are() -> None:
    # V: 0.5, 0.75, and the answer was wrong; V: 0.5, and the answer was right.
    turns = Turns.of([Split((0.25, -0.75), 0.0, True), Split((-0.5,), 1.0, True)], ["q", "p"])
    assert advantages("vine", turns, 0.5) == [0.25, -0.75, 0.5]
    with pytest.raises(ValueError, match="vine needs a gain on every last turn"):
        advantages("vine", Turns.of(SPLITS, GROUPS))


def test_estimators_without_bounds_take_those_of_the_trainer(turns: Turns) -> None:
    low, high = resolve_estimator("igpo-separate").clips(turns, 0.2)
    assert low.tolist() == high.tolist() == [0.2] * 8


def test_the_curriculum_moves_weight_from_gains_to_outcomes(turns: Turns) -> None:
    assert curriculum_weights(0.0) == (1.0, 0.5)
    assert curriculum_weights(1.0) == (0.5, 1.0)
    plain = np.array(advantages("igpo-separate", turns))
    assert advantages("igpo-separate", turns, weights=curriculum_weights(0.5)) == pytest.approx(0.75 * plain)
    assert advantages("igpo-separate", turns, weights=(0.0, 1.0)) == pytest.approx(advantages("grpo", turns))
    assert advantages("igpo-joint", turns, weights=(0.0, 1.0))[2] == pytest.approx(
        advantages("igpo-joint", turns)[2]
    )


def test_a_gain_of_zero_is_compared_and_credited() -> None:
    turns = Turns.of([Split((0.0,), 1.0), Split((0.4,), 1.0), Split((0.2,), 1.0)], ["q", "q", "q"])
    assert advantages("igpo-separate", turns)[0] == pytest.approx(-math.sqrt(1.5), abs=1e-4)
    with_zero = advantages("igpo-joint", Turns.of([Split((0.0, 0.3), 1.0), Split((0.1,), 0.0)], ["q", "q"]))
    assert len(with_zero) == 5
    assert with_zero[0] != with_zero[1]


# Aborted episodes, and groups of one.


def test_an_aborted_episode_is_left_out(turns: Turns) -> None:
    aborted = [Split((9.0, -9.0), None, True), Split((), None, True)]
    more = Turns.of([*SPLITS[:1], *aborted, *SPLITS[1:]], ["a", "a", "b", "a", "b", "b"])
    kept = more.ended[more.episodes]
    assert kept.tolist() == [True] * 3 + [False] * 2 + [True] * 5
    plain = Turns.of(SPLITS, GROUPS)
    for name in ESTIMATORS.keys() - {"gigpo", "vine"}:
        values = np.array(advantages(name, more))
        assert values[kept].tolist() == advantages(name, plain), name
        assert not values[~kept].any()
        low, _ = resolve_estimator(name).clips(more, 0.2)
        assert low[kept].tolist() == resolve_estimator(name).clips(plain, 0.2)[0].tolist()


def test_an_episode_without_peers_is_compared_with_nobody() -> None:
    splits = [Split((0.3, 0.1), 1.0, True), Split((0.2, 0.5), None, True), Split((0.4,), 0.5, True)]
    turns = Turns.of(splits, ["a", "a", "b"], [["s", "t"], ["s", "t"], ["s"]])
    for name in ESTIMATORS:
        values = np.array(advantages(name, turns))
        groupwise = resolve_estimator(name).groupwise
        assert values.any() != groupwise, name
        assert not values[2:4].any()
    assert {name for name in ESTIMATORS if not resolve_estimator(name).groupwise} == {
        "rebn",
        "reinforce++",
        "vine",
    }


# How estimators are found, and which rewards they go with.


def test_parameters_that_do_not_fit_are_explained() -> None:
    assert resolve_estimator("mt-grpo( outcome_weight = 1 )").name == "mt-grpo"
    for spec, problem in {
        "ppo": "unknown advantage estimator 'ppo'; choose one of: a2tgpo, gigpo, grpo, igpo-joint",
        "grpo(alpha=1)": "advantage estimator 'grpo' has no parameter 'alpha'; it has: none",
        "a2tgpo(alpha=much)": "'much' is no float, which alpha of the advantage estimator 'a2tgpo' must be",
        "a2tgpo(alpha=1": r"write it like a2tgpo\(alpha=1.0\)",
    }.items():
        with pytest.raises(SpecError, match=problem):
            resolve_estimator(spec)
    own = Estimator("own", lambda turns, gamma: turns.gains)
    assert resolve_estimator(own) is own


def test_a_reward_whose_gains_are_ignored_is_refused() -> None:
    for name in ("grpo", "rloo", "reinforce++"):
        with pytest.raises(SpecError, match=r"pays gains \(gain\): choose .*igpo-separate.*rebn"):
            check_reward(resolve_estimator(name), resolve_reward("igpo"))
        check_reward(resolve_estimator(name), resolve_reward("f1 - 2*format-penalty"))
    check_reward(resolve_estimator("igpo-separate"), resolve_reward("f1"))
    check_reward(resolve_estimator("vine"), resolve_reward("f1 + value-gain(terminal=1)"))
    with pytest.raises(SpecError, match="'monte-carlo' does not pay"):
        check_reward(resolve_estimator("vine"), resolve_reward("monte-carlo"))


def test_a_potential_of_another_discount_is_refused() -> None:
    rebn = resolve_estimator("rebn")
    for reward in ("potential", "shaping + f1", "potential(gamma=0.5)"):
        with pytest.raises(SpecError, match=r"write potential\(gamma=0\.9\)"):
            check_reward(rebn, resolve_reward(reward), 0.9)
    for gamma, reward in ((0.9, "potential(gamma=0.9)"), (1.0, "potential"), (0.9, "igpo")):
        check_reward(rebn, resolve_reward(reward), gamma)


# Against a slow implementation from the formulas, on random episodes.

numbers = st.floats(-2, 2).map(lambda x: round(x, 3))


@dataclass(frozen=True)
class Played:
    gains: tuple[float, ...]
    outcome: float
    group: str


def batches(last_gain: bool) -> st.SearchStrategy[list[Played]]:
    gains = st.lists(numbers, min_size=int(last_gain), max_size=4).map(tuple)
    return st.lists(st.builds(Played, gains, numbers, st.sampled_from("ab")), min_size=1, max_size=8)


both = st.booleans().flatmap(lambda last: st.tuples(st.just(last), batches(last)))
Key = tuple[int, int]


@given(both, st.floats(0, 1))
def test_estimators_against_a_slow_implementation(drawn: tuple[bool, list[Played]], gamma: float) -> None:
    last, episodes = drawn
    lengths = [len(each.gains) + (not last) for each in episodes]
    states = [
        [round(sum(each.gains[:t]) * 2) for t in range(n)] for each, n in zip(episodes, lengths, strict=True)
    ]
    turns = Turns.of([Split(e.gains, e.outcome, last) for e in episodes], [e.group for e in episodes], states)
    alone = {e for e, each in enumerate(episodes) if [o.group for o in episodes].count(each.group) == 1}
    for name in ESTIMATORS.keys() - {"vine"}:
        estimator = resolve_estimator(name)
        left_out = alone if estimator.groupwise else set()
        slow = Slow(episodes, lengths, states, gamma, left_out)
        values = SLOW[name](slow)
        expected = [
            0.0 if e in left_out else values[e, t] for e, length in enumerate(lengths) for t in range(length)
        ]
        assert estimator(turns, gamma) == pytest.approx(expected, abs=1e-5, rel=1e-5), name


@dataclass(frozen=True)
class Slow:
    """Values by episode and turn, from 0; episodes that are left out are in no set."""

    episodes: list[Played]
    lengths: list[int]
    states: list[list[int]]
    gamma: float
    left_out: set[int]

    @property
    def kept(self) -> list[int]:
        return [e for e in range(len(self.episodes)) if e not in self.left_out]

    def group(self, key: Key) -> str:
        return self.episodes[key[0]].group

    @property
    def gains(self) -> dict[Key, float]:
        return {(e, t): g for e in self.kept for t, g in enumerate(self.episodes[e].gains)}

    @property
    def outcomes(self) -> dict[Key, float]:
        return {(e, self.lengths[e] - 1): self.episodes[e].outcome for e in self.kept}

    @property
    def rewards(self) -> dict[Key, float]:
        return {key: self.gains.get(key, 0.0) + self.outcomes.get(key, 0.0) for key in self.keys}

    @property
    def keys(self) -> list[Key]:
        return [(e, t) for e in self.kept for t in range(self.lengths[e])]

    def summed(self, values: dict[Key, float], gamma: float | None = None) -> dict[Key, float]:
        g = self.gamma if gamma is None else gamma
        return {
            (e, t): sum(g ** (k - t) * values.get((e, k), 0.0) for k in range(t, self.lengths[e]))
            for e, t in self.keys
        }

    def everywhere(self, values: dict[Key, float]) -> dict[Key, float]:
        return {(e, t): values[e, self.lengths[e] - 1] for e, t in self.keys}


def slow_z(
    values: dict[Key, float], set_of: Callable[[Key], Hashable], center: bool = True
) -> dict[Key, float]:
    sets: dict[Hashable, list[float]] = defaultdict(list)
    for key, value in values.items():
        sets[set_of(key)].append(value)

    def z(value: float, peers: list[float]) -> float:
        mean = sum(peers) / len(peers)
        std = math.sqrt(sum((x - mean) ** 2 for x in peers) / len(peers) + 1e-8) if len(peers) > 1 else 1.0
        return (value - mean * center) / (std + 1e-6)

    return {key: z(value, sets[set_of(key)]) for key, value in values.items()}


def plus(*parts: dict[Key, float]) -> dict[Key, float]:
    return {key: sum(part.get(key, 0.0) for part in parts) for key in set().union(*parts)}


def slow_scaled(s: Slow) -> dict[Key, float]:
    gains, outcomes = slow_z(s.gains, s.group), slow_z(s.outcomes, s.group)
    if gains:
        sizes = [sum(map(abs, part.values())) / len(part) for part in (gains, outcomes)]
        factor = min(10, max(0.3, sizes[1]) / (sizes[0] + 1e-6))
        gains = {key: factor * value for key, value in gains.items()}
    return s.summed(plus(gains, outcomes))


def slow_rloo(s: Slow) -> dict[Key, float]:
    values = {}
    for key, outcome in s.outcomes.items():
        others = [o for other, o in s.outcomes.items() if other != key and s.group(other) == s.group(key)]
        values[key] = outcome - sum(others) / len(others)
    return s.summed(values)


def slow_gigpo(s: Slow) -> dict[Key, float]:
    def less_mean(values: dict[Key, float], set_of: Callable[[Key], Hashable]) -> dict[Key, float]:
        sets: dict[Hashable, list[float]] = defaultdict(list)
        for key, value in values.items():
            sets[set_of(key)].append(value)
        return {key: x - sum(sets[set_of(key)]) / len(sets[set_of(key)]) for key, x in values.items()}

    totals = {(e, s.lengths[e] - 1): sum(s.rewards[e, t] for t in range(s.lengths[e])) for e in s.kept}
    own = less_mean(s.summed(s.rewards), lambda key: (s.group(key), s.states[key[0]][key[1]]))
    return plus(s.everywhere(less_mean(totals, s.group)), own)


def slow_by_turn(s: Slow) -> dict[Key, float]:
    return slow_z(s.gains, lambda key: (s.group(key), key[1]))


def slow_a2tgpo(s: Slow) -> dict[Key, float]:
    gains = slow_by_turn(s)
    sums = s.summed(gains)
    counts = {(e, t): sum((e, k) in gains for k in range(t, s.lengths[e])) for e, t in s.keys}
    scaled = {
        key: 0.3 * value / math.sqrt(counts[key]) if counts[key] else 0.0 for key, value in sums.items()
    }
    return plus(s.everywhere(slow_z(s.outcomes, s.group)), scaled)


SLOW: dict[str, Callable[[Slow], dict[Key, float]]] = {
    "igpo-joint": lambda s: s.summed(slow_z(s.rewards, s.group)),
    "igpo-separate": lambda s: s.summed(plus(slow_z(s.gains, s.group), slow_z(s.outcomes, s.group))),
    "igpo-scaled": slow_scaled,
    "igpo-raw": lambda s: plus(slow_z(s.gains, s.group, False), s.everywhere(slow_z(s.outcomes, s.group))),
    "grpo": lambda s: s.summed(slow_z(s.outcomes, s.group)),
    "rloo": slow_rloo,
    "reinforce++": lambda s: s.summed(slow_z(s.outcomes, lambda key: 0)),
    "rebn": lambda s: slow_z(s.summed(s.rewards), lambda key: 0),
    "mt-grpo": lambda s: plus(slow_by_turn(s), s.summed(slow_z(s.outcomes, s.group))),
    "gigpo": slow_gigpo,
    "a2tgpo": slow_a2tgpo,
}


@given(batches(last_gain=True), st.randoms())
def test_the_order_of_the_episodes_does_not_matter(episodes: list[Played], random: Any) -> None:
    order = list(range(len(episodes)))
    random.shuffle(order)

    def estimates(chosen: Sequence[int], name: str) -> dict[int, list[float]]:
        splits = [Split(episodes[e].gains, episodes[e].outcome, True) for e in chosen]
        states = [list(range(each.turns)) for each in splits]
        turns = Turns.of(splits, [episodes[e].group for e in chosen], states)
        values = turns.by_episode(resolve_estimator(name)(turns))
        return {e: each.tolist() for e, each in zip(chosen, values, strict=True)}

    for name in ESTIMATORS:
        plain, shuffled = estimates(range(len(episodes)), name), estimates(order, name)
        for e in order:
            assert shuffled[e] == pytest.approx(plain[e], abs=1e-6)


def test_gains_are_weighted_after_they_are_normalized() -> None:
    turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    for name in ("igpo-joint", "igpo-separate", "igpo-scaled", "igpo-raw"):
        plain, none, double = (
            resolve_estimator(f"{name}(gain_weight={weight})")(turns) for weight in (1.0, 0.0, 2.0)
        )
        assert (double - none).tolist() == pytest.approx((2 * (plain - none)).tolist()), name
        assert none[turns.lasts].tolist() == plain[turns.lasts].tolist(), name
