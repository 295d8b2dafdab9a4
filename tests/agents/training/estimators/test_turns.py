from __future__ import annotations

import numpy as np
import pytest

from igpo_gym.agents.training.estimators import (
    Split,
    Turns,
    collapse_rate,
    per_token,
    resolve_estimator,
    standardized,
    zero_std_rate,
)

SPLITS = [Split((0.2, 0.0), 1.0), Split((), 0.0), Split((0.4, 0.7), 0.5, True), Split((0.1,), 0.0)]
GROUPS = ["a", "a", "b", "b"]


@pytest.fixture
def turns() -> Turns:
    return Turns.of(SPLITS, GROUPS)


def test_arrays_of_turns(turns: Turns) -> None:
    assert turns.gains.tolist() == [0.2, 0.0, 0.0, 0.0, 0.4, 0.7, 0.1, 0.0]
    assert turns.exists.tolist() == [True, True, False, False, True, True, True, False]
    assert turns.outcomes.tolist() == [1.0, 0.0, 0.5, 0.0]
    assert turns.rewards.tolist() == [0.2, 0.0, 1.0, 0.0, 0.4, 1.2, 0.1, 0.0]
    assert turns.returns == pytest.approx([1.2, 0.0, 1.6, 0.1])
    assert turns.groups.tolist() == [0, 0, 1, 1]
    assert turns.turn_groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert turns.episodes.tolist() == [0, 0, 0, 1, 2, 2, 3, 3]
    assert turns.numbers.tolist() == [0, 1, 2, 0, 0, 1, 0, 1]
    assert turns.firsts.tolist() == [True, False, False, True, True, False, True, False]
    assert turns.lasts.tolist() == [False, False, True, True, False, True, False, True]


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
    turns = Turns.of([Split((0.1,), 1.0)], ["q"])
    values = np.zeros(2)
    with pytest.raises(ValueError, match="2 turns were rewarded, but tokens belong to turn 3"):
        per_token(turns, values, [[0, 1, 2, 3]])
    with pytest.raises(ValueError, match="tokens of 2 episodes"):
        per_token(turns, values, [[1, 2], [1]])
    with pytest.raises(ValueError, match="episode 0 has an outcome, but no turn"):
        Turns.of([Split((), 1.0, last_gain=True)], ["q"])
    with pytest.raises(ValueError, match="need a group each, but there are 1"):
        Turns.of([Split((), 0.1), Split((), 0.2)], ["q"])
    with pytest.raises(ValueError, match="needs a state"):
        Turns.of([Split((0.1,), 0.2)], ["q"], [["s"]])
    with pytest.raises(ValueError, match="a number per turn"):
        Turns(np.zeros(2), np.zeros(2, bool), np.zeros(1), np.zeros(1, int), np.array([3]))
    with pytest.raises(ValueError, match="no episodes"):
        Turns.of([], [])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused_with_its_episode(value: float) -> None:
    for spoiled in (Split((0.1, value), 1.0), Split((0.1,), value)):
        with pytest.raises(ValueError, match=r"episode 1 was paid .*, which is no finite number"):
            Turns.of([SPLITS[0], spoiled], ["q", "q"])


def test_collapsed_groups_are_counted() -> None:
    turns = Turns.of(
        [Split((0.0,), 1.0), Split((0.3,), 1.0), Split((), 0.5), Split((), 0.0)], ["a", "a", "b", "b"]
    )
    assert collapse_rate(turns, resolve_estimator("grpo")(turns)) == 0.5
    assert collapse_rate(turns, resolve_estimator("igpo-separate")(turns)) == 0.0
    assert zero_std_rate(turns) == 0.0


def test_equal_returns_and_groups_without_peers_are_counted() -> None:
    # The first group's returns are equal, its advantages are not; two groups have less than two members.
    splits = [
        Split((0.25,), 1.0),
        Split((0.75,), 0.5),
        Split((), 1.0),
        Split((), None, True),
        Split((), None, True),
    ]
    turns = Turns.of(splits, ["a", "a", "b", "b", "c"])
    assert zero_std_rate(turns) == 1.0
    assert collapse_rate(turns, resolve_estimator("igpo-separate")(turns)) == pytest.approx(2 / 3)


def test_standardized_alone_and_constant_sets_are_zero() -> None:
    assert standardized(np.array([3.0]), np.array([0])).tolist() == [0.0]
    assert standardized(np.full(3, 0.1), np.zeros(3, int)) == pytest.approx([0, 0, 0], abs=1e-9)
    none = np.zeros(2, dtype=np.bool_)
    assert standardized(np.ones(2), among=none).tolist() == [0.0, 0.0]
    assert standardized(np.array([3.0, 5.0]), center=False) == pytest.approx([3.0, 5.0], rel=1e-4)
    assert standardized(np.array([3.0, 7.0]), scale=False).tolist() == [-2.0, 2.0]
