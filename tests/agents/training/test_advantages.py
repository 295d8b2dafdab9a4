from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.training.advantages import (
    ADVANTAGES,
    Turns,
    a2tgpo,
    a2tgpo_clip_scale,
    collapse_rate,
    gigpo,
    igpo,
    mt_grpo,
    per_token,
    rloo,
    standardized,
)
from igpo_gym.rewards import curriculum_weights

# Two questions; the second episode answers at once, and one gain is exactly 0.
REWARDS = [[0.2, 0.0, 1.0], [0.0], [0.4, 0.5], [0.1, 0.0]]
GROUPS = ["a", "a", "b", "b"]
STATES = [["a", "x", "y"], ["a"], ["b", "z"], ["b", "z"]]


@pytest.fixture
def turns() -> Turns:
    return Turns.of(REWARDS, GROUPS, STATES)


def test_arrays_of_turns(turns: Turns) -> None:
    assert turns.rewards.tolist() == [0.2, 0.0, 1.0, 0.0, 0.4, 0.5, 0.1, 0.0]
    assert turns.groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert turns.numbers.tolist() == [0, 1, 2, 0, 0, 1, 0, 1]
    assert turns.firsts.tolist() == [True, False, False, True, True, False, True, False]
    assert turns.lasts.tolist() == [False, False, True, True, False, True, False, True]


def test_grpo_by_hand(turns: Turns) -> None:
    # Outcomes 1 and 0: mean 0.5, standard deviation 0.5. Outcomes 0.5 and 0: 0.25 and 0.25.
    assert ADVANTAGES["grpo"](turns) == pytest.approx([1, 1, 1, -1, 1, 1, -1, -1], abs=1e-5)


def test_igpo_joint_by_hand(turns: Turns) -> None:
    # Group a: 0.2, 0, 1, 0 have the mean 0.3 and the variance (0.01 + 0.09 + 0.49 + 0.09) / 4 = 0.17.
    a = [x / math.sqrt(0.17) for x in (-0.1, -0.3, 0.7, -0.3)]
    # Group b: 0.4, 0.5, 0.1, 0 have the mean 0.25 and the variance 0.0425.
    b = [x / math.sqrt(0.0425) for x in (0.15, 0.25, -0.15, -0.25)]
    expected = [a[0] + a[1] + a[2], a[1] + a[2], a[2], a[3], b[0] + b[1], b[1], b[2] + b[3], b[3]]
    assert ADVANTAGES["igpo-joint"](turns) == pytest.approx(expected, abs=1e-4)


def test_igpo_separate_by_hand(turns: Turns) -> None:
    # Group a: the gains 0.2 and 0 give 1 and -1, as do the outcomes. Group b: the same of 0.4 and 0.1.
    assert ADVANTAGES["igpo-separate"](turns) == pytest.approx([1, 0, 1, -1, 2, 1, -2, -1], abs=1e-4)
    assert ADVANTAGES["igpo-separate"](turns, 0.5) == pytest.approx(
        [1 - 0.5 + 0.25, -1 + 0.5, 1, -1, 1.5, 1, -1.5, -1], abs=1e-4
    )


def test_rloo_by_hand() -> None:
    turns = Turns.of([[0.9, 1.0], [0.0], [0.5]], ["q", "q", "q"])
    assert rloo(turns) == pytest.approx([0.75, 0.75, -0.75, 0.0])
    assert rloo(Turns.of([[0.0, 0.7]], ["q"])) == pytest.approx([0.7, 0.7])


def test_batch_normalized_estimators_by_hand(turns: Turns) -> None:
    outcomes = np.array([1.0, 0.0, 0.5, 0.0])
    z = (outcomes - outcomes.mean()) / outcomes.std()
    assert ADVANTAGES["reinforce++"](turns) == pytest.approx(z[[0, 0, 0, 1, 2, 2, 3, 3]], abs=1e-4)
    returns = np.array([1.2, 1.0, 1.0, 0.0, 0.9, 0.5, 0.1, 0.0])
    expected = (returns - returns.mean()) / returns.std()
    assert ADVANTAGES["rebn"](turns) == pytest.approx(expected, abs=1e-4)


def test_mt_grpo_by_hand(turns: Turns) -> None:
    # Group a has one first and one second gain: no peers, so they add nothing.
    assert mt_grpo(turns, outcome_weight=0.5) == pytest.approx(
        [0.5, 0.5, 1, -1, 1 + 0.5, 1, -1 - 0.5, -1], abs=1e-4
    )


def test_gigpo_by_hand(turns: Turns) -> None:
    # Returns 1.2 and 0, 0.9 and 0.1: +1 and -1 each. States a, b and z are shared, x and y are not;
    # the discounted returns from a shared state differ, so they add +1 and -1.
    assert gigpo(turns) == pytest.approx([2, 1, 1, -2, 2, 2, -2, -2], abs=1e-4)
    with pytest.raises(ValueError, match="states"):
        gigpo(Turns.of(REWARDS, GROUPS))


def test_a2tgpo_by_hand() -> None:
    turns = Turns.of([[0.2, 0.3, 1.0], [0.0, 0.1, 0.0]], ["q", "q"])
    # All gains are +1 or -1 among their like: D = 2 over two terms, then 1 over one.
    assert a2tgpo(turns, gain_weight=0.5) == pytest.approx(
        [1 + math.sqrt(2) / 2, 1.5, 1, -1 - math.sqrt(2) / 2, -1.5, -1], abs=1e-4
    )
    assert a2tgpo(turns, gamma=0.5)[0] == pytest.approx(1 + 1.5 / math.sqrt(2), abs=1e-4)
    up = 1 + 0.3 * (2 / (1 + math.exp(-1)) - 1)
    assert a2tgpo_clip_scale(turns) == pytest.approx([up, up, 1, 2 - up, 2 - up, 1], abs=1e-5)


def test_the_curriculum_moves_weight_from_gains_to_outcomes(turns: Turns) -> None:
    assert curriculum_weights(0.0) == (1.0, 0.5)
    assert curriculum_weights(1.0) == (0.5, 1.0)
    got = igpo(turns, normalize="separate", weights=curriculum_weights(0.5))
    assert got == pytest.approx(0.75 * igpo(turns, normalize="separate"))
    assert igpo(turns, normalize="separate", weights=(0.0, 1.0)) == pytest.approx(ADVANTAGES["grpo"](turns))


# Trap 1: a turn whose gain is exactly 0 is a turn.


def test_a_gain_of_zero_is_compared_and_credited() -> None:
    turns = Turns.of([[0.0, 1.0], [0.4, 1.0], [0.2, 1.0]], ["q", "q", "q"])
    assert igpo(turns, normalize="separate")[0] == pytest.approx(-math.sqrt(1.5), abs=1e-4)
    with_zero = igpo(Turns.of([[0.0, 0.3, 1.0], [0.1, 0.0]], ["q", "q"]))
    assert len(with_zero) == 5
    assert with_zero[0] != with_zero[1]


# Trap 4: turns and rewards that do not match are an error.


def test_tokens_get_their_turns_advantage(turns: Turns) -> None:
    values = np.arange(1.0, 9.0)
    tokens = [[0, 1, 1, 0, 2, 0, 3], [0, 0, 1], [1, 2, 2], [0, 1, 1, 0, 0]]  # the last one's answer is empty
    spread = per_token(turns, values, tokens)
    assert [each.tolist() for each in spread] == [
        [0, 1, 1, 0, 2, 0, 3],
        [0, 0, 4],
        [5, 6, 6],
        [0, 7, 7, 0, 0],
    ]


def test_turns_and_rewards_that_do_not_match_are_refused() -> None:
    turns = Turns.of([[0.1, 1.0]], ["q"])
    values = np.zeros(2)
    with pytest.raises(ValueError, match="2 turns were rewarded, but tokens belong to turn 3"):
        per_token(turns, values, [[0, 1, 2, 3]])
    with pytest.raises(ValueError, match="tokens of 2 episodes"):
        per_token(turns, values, [[1, 2], [1]])
    with pytest.raises(ValueError, match="at least one turn"):
        Turns.of([[0.1], []], ["q", "q"])
    with pytest.raises(ValueError, match="needs a group"):
        Turns.of([[0.1], [0.2]], ["q"])
    with pytest.raises(ValueError, match="needs a state"):
        Turns.of([[0.1, 0.2]], ["q"], [["s"]])
    with pytest.raises(ValueError, match="of one length"):
        Turns(np.zeros(2), np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(ValueError, match="stand together"):
        Turns(np.zeros(3), np.zeros(3, int), np.array([0, 1, 0]))
    with pytest.raises(ValueError, match="no turns"):
        Turns.of([], [])


def test_collapsed_groups_are_counted() -> None:
    turns = Turns.of([[0.0, 1.0], [0.3, 1.0], [0.5], [0.0]], ["a", "a", "b", "b"])
    assert collapse_rate(turns, ADVANTAGES["grpo"](turns)) == 0.5
    assert collapse_rate(turns, ADVANTAGES["igpo-separate"](turns)) == 0.0


# Against a slow implementation from the formulas, on random turns.

numbers = st.floats(-2, 2).map(lambda x: round(x, 3))
episode = st.tuples(st.lists(numbers, min_size=1, max_size=5), st.sampled_from("ab"))
Episodes = list[tuple[list[float], str]]
Key = tuple[int, int]


@given(st.lists(episode, min_size=1, max_size=8), st.floats(0, 1))
def test_estimators_against_a_slow_implementation(episodes: Episodes, gamma: float) -> None:
    rewards, groups = [r for r, _ in episodes], [g for _, g in episodes]
    states = [[round(sum(r[:t]) * 2) for t in range(len(r))] for r in rewards]
    turns = Turns.of(rewards, groups, states)
    for name, estimate in ADVANTAGES.items():
        slow = SLOW[name](rewards, groups, states, gamma)
        assert estimate(turns, gamma) == pytest.approx(
            [slow[e, t] for e, r in enumerate(rewards) for t in range(len(r))], abs=1e-5
        ), name


def slow_z(values: dict[Key, float], set_of: Callable[[Key], Hashable]) -> dict[Key, float]:
    sets: dict[Hashable, list[float]] = defaultdict(list)
    for key, value in values.items():
        sets[set_of(key)].append(value)

    def z(value: float, peers: list[float]) -> float:
        mean = sum(peers) / len(peers)
        if len(peers) == 1:
            return (value - mean) / (1 + 1e-6)
        return (value - mean) / (math.sqrt(sum((x - mean) ** 2 for x in peers) / len(peers) + 1e-8) + 1e-6)

    return {key: z(value, sets[set_of(key)]) for key, value in values.items()}


Slow = Callable[[list[list[float]], list[str], list[list[int]], float], dict[Key, float]]


def slow_igpo(separate: bool) -> Slow:
    def estimate(r: list[list[float]], g: list[str], s: object, gamma: float) -> dict[Key, float]:
        values = {(e, t): x for e, row in enumerate(r) for t, x in enumerate(row)}
        z = slow_z(values, lambda key: (g[key[0]], separate and key[1] == len(r[key[0]]) - 1))
        return {(e, t): discounted([z[e, k] for k in range(t, len(r[e]))], gamma) for e, t in values}

    return estimate


def discounted(values: Sequence[float], gamma: float) -> float:
    return sum(gamma**k * value for k, value in enumerate(values))


def slow_outcome(kind: str) -> Slow:
    def estimate(r: list[list[float]], g: list[str], s: object, gamma: float) -> dict[Key, float]:
        outcome = {(e, 0): row[-1] for e, row in enumerate(r)}
        if kind == "group":
            value = slow_z(outcome, lambda key: g[key[0]])
        elif kind == "batch":
            value = slow_z(outcome, lambda key: 0)
        else:
            value = {}
            for e, row in enumerate(r):
                others = [r[o][-1] for o in range(len(r)) if o != e and g[o] == g[e]]
                value[e, 0] = row[-1] - (sum(others) / len(others) if others else 0.0)
        return {
            (e, t): gamma ** (len(row) - 1 - t) * value[e, 0]
            for e, row in enumerate(r)
            for t in range(len(row))
        }

    return estimate


def slow_rebn(r: list[list[float]], g: list[str], s: object, gamma: float) -> dict[Key, float]:
    returns = {(e, t): discounted(row[t:], gamma) for e, row in enumerate(r) for t in range(len(row))}
    return slow_z(returns, lambda key: 0)


def slow_gains(r: list[list[float]], g: list[str]) -> dict[Key, float]:
    gains = {(e, t): x for e, row in enumerate(r) for t, x in enumerate(row[:-1])}
    return slow_z(gains, lambda key: (g[key[0]], key[1]))


def slow_mt_grpo(r: list[list[float]], g: list[str], s: object, gamma: float) -> dict[Key, float]:
    outcome, gains = slow_outcome("group")(r, g, [], gamma), slow_gains(r, g)
    return {key: gains.get(key, 0.0) + value for key, value in outcome.items()}


def slow_gigpo(r: list[list[float]], g: list[str], s: list[list[int]], gamma: float) -> dict[Key, float]:
    episodes = slow_z({(e, 0): sum(row) for e, row in enumerate(r)}, lambda key: g[key[0]])
    returns = {(e, t): discounted(row[t:], gamma) for e, row in enumerate(r) for t in range(len(row))}
    own = slow_z(returns, lambda key: (g[key[0]], s[key[0]][key[1]]))
    return {(e, t): episodes[e, 0] + own[e, t] for e, t in returns}


def slow_a2tgpo(r: list[list[float]], g: list[str], s: object, gamma: float) -> dict[Key, float]:
    outcome, gains = slow_outcome("group")(r, g, [], 1.0), slow_gains(r, g)
    result = {}
    for (e, t), z in outcome.items():
        own = [gains[e, k] for k in range(t, len(r[e]) - 1)]
        result[e, t] = z + (discounted(own, gamma) / math.sqrt(len(own)) if own else 0.0)
    return result


SLOW: dict[str, Slow] = {
    "igpo-joint": slow_igpo(separate=False),
    "igpo-separate": slow_igpo(separate=True),
    "grpo": slow_outcome("group"),
    "rloo": slow_outcome("others"),
    "reinforce++": slow_outcome("batch"),
    "rebn": slow_rebn,
    "mt-grpo": slow_mt_grpo,
    "gigpo": slow_gigpo,
    "a2tgpo": slow_a2tgpo,
}


@given(st.lists(episode, min_size=2, max_size=6), st.randoms())
def test_the_order_of_the_episodes_does_not_matter(episodes: Episodes, random: object) -> None:
    order = list(range(len(episodes)))
    random.shuffle(order)  # type: ignore[attr-defined]

    def estimates(chosen: Sequence[int], name: str) -> dict[int, list[float]]:
        rewards = [episodes[e][0] for e in chosen]
        states = [[t for t, _ in enumerate(row)] for row in rewards]
        values = ADVANTAGES[name](Turns.of(rewards, [episodes[e][1] for e in chosen], states))
        ends = np.cumsum([len(row) for row in rewards])[:-1]
        return {e: each.tolist() for e, each in zip(chosen, np.split(values, ends), strict=True)}

    for name in ADVANTAGES:
        plain, shuffled = estimates(range(len(episodes)), name), estimates(order, name)
        for e in order:
            assert shuffled[e] == pytest.approx(plain[e], abs=1e-6)


def test_standardized_alone_and_constant_sets_are_zero() -> None:
    assert standardized(np.array([3.0]), np.array([0])).tolist() == [0.0]
    assert standardized(np.full(3, 0.1), np.zeros(3, int)) == pytest.approx([0, 0, 0], abs=1e-9)
    none = np.zeros(2, dtype=np.bool_)
    assert standardized(np.ones(2), among=none).tolist() == [0.0, 0.0]
