"""Controls by hand, and what they must leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.training.estimators import Split, Turns, check_reward, resolve_estimator
from igpo_gym.agents.training.estimators.controls import derangement
from igpo_gym.errors import SpecError
from igpo_gym.rewards import resolve_reward

episodes = st.builds(
    Split, st.lists(st.floats(-1, 1), max_size=5).map(tuple), st.sampled_from((0.0, 0.5, 1.0, None))
)
batches = st.lists(episodes, min_size=4, max_size=4)
GROUPS = ["a", "a", "b", "b"]


def test_noise_takes_the_place_of_gains_where_outcomes_do_not_differ() -> None:
    splits = [Split((0.9, 0.9), 1.0), Split((0.9,), 1.0), Split((0.9,), 1.0), Split((), 0.0)]
    turns = Turns.of(splits, GROUPS)
    drawn = np.random.default_rng((7, 3)).standard_normal(len(turns))
    found = resolve_estimator("noise")(turns, 0.5, seed=(7, 3))
    assert found[:5] == pytest.approx([drawn[0] + 0.5 * drawn[1], drawn[1], 0.0, drawn[3], 0.0])
    assert found[5:] == pytest.approx([0.5, 1, -1], abs=1e-4), "as GRPO has it, gamma 0.5"


@given(batches, st.integers(0, 99))
def test_a_resumed_run_draws_the_same(splits: list[Split], update: int) -> None:
    turns = Turns.of(splits, GROUPS)
    for name in ("noise", "permuted"):
        once, again = (resolve_estimator(name)(turns, 1.0, seed=(1, update)) for _ in range(2))
        assert once.tolist() == again.tolist()


def test_noise_has_mean_0_and_variance_1_on_the_turn_before_the_last() -> None:
    turns = Turns.of([Split((0.0,), 1.0)] * 2, ["q", "q"])
    drawn = np.array([resolve_estimator("noise")(turns, 1.0, seed=(0, n))[[0, 2]] for n in range(2000)])
    assert abs(drawn.mean()) < 0.06
    assert drawn.std() == pytest.approx(1, abs=0.06)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.1


def test_noise_goes_with_the_outcome_alone() -> None:
    check_reward(resolve_estimator("noise"), resolve_reward("outcome-f1 - 2*format-penalty"))
    with pytest.raises(SpecError, match="takes the outcome alone"):
        check_reward(resolve_estimator("noise"), resolve_reward("igpo"))


@given(batches, st.integers(0, 99))
def test_moved_gains_are_the_same_gains_at_other_turns(splits: list[Split], update: int) -> None:
    # Numbers that say which gain each is, of an estimator that gives gains as they are.
    marked = [Split(tuple(10.0 * e + t + 1 for t in range(len(s.gains))), 1.0) for e, s in enumerate(splits)]
    turns = Turns.of(marked, GROUPS)
    moved = resolve_estimator("permuted(of=tests.agents.training.estimators.test_controls:plain)")(
        turns, seed=(0, update)
    )
    for before, after in zip(turns.by_episode(turns.gains), turns.by_episode(moved), strict=True):
        assert sorted(before) == sorted(after)
        assert after[-1] == 0.0, "the last turn has none"
        if len(before) > 2:
            assert (before[:-1] != after[:-1]).all()
        else:
            assert (before == after).all()


def plain() -> object:
    from igpo_gym.agents.training.estimators import Estimator

    return Estimator("plain", lambda turns, gamma: turns.gains, groupwise=False)


def test_derangements_are_drawn_uniformly() -> None:
    generator = np.random.default_rng(0)
    drawn = [tuple(derangement(3, generator)) for _ in range(1000)]
    assert set(drawn) == {(1, 2, 0), (2, 0, 1)}
    assert abs(drawn.count((1, 2, 0)) - 500) < 64  # 4 standard errors


def test_the_share_of_what_could_not_be_moved_is_told() -> None:
    turns = Turns.of(
        [Split((0.1, 0.2), 1.0), Split((0.1,), 1.0), Split((), 0.0), Split((0.0, 0.0), 0.0)], GROUPS
    )
    permuted, noise = (resolve_estimator(name).tells for name in ("permuted", "noise"))
    assert permuted is not None
    assert permuted(turns) == {"unmoved_episodes": 0.5}
    assert noise is not None
    assert noise(turns) == {"noisy_episodes": 1.0}
    aborted = Turns.of([Split((0.1,), 1.0), Split((0.1,), None), Split((), 0.0), Split((), 1.0)], GROUPS)
    assert noise(aborted) == {"noisy_episodes": 0.25}
    assert resolve_estimator("noise")(aborted, 1.0, seed=(0, 0))[2:].tolist()[:1] == [0.0]


def test_the_last_gain_alone_by_hand() -> None:
    splits = [Split((0.9, 0.2), 1.0), Split((0.4,), 0.0), Split((), 1.0), Split((0.3,), 1.0)]
    found = resolve_estimator("last-gain")(Turns.of(splits, GROUPS))
    # Group a: 0.2 and 0.4 give -1 and 1, outcomes 1 and -1. Group b: one gain and equal outcomes.
    assert found == pytest.approx([0, 0, 1, 0, -1, 0, 0, 0], abs=1e-4)


@given(batches)
def test_the_last_gain_is_what_the_estimator_gives_where_there_is_one_gain(splits: list[Split]) -> None:
    short = Turns.of([Split(each.gains[:1], each.outcome) for each in splits], GROUPS)
    assert resolve_estimator("last-gain")(short) == pytest.approx(resolve_estimator("igpo-separate")(short))


def test_a_control_of_a_control_is_refused() -> None:
    for name in ("permuted(of=noise)", "permuted(of=a2tgpo)"):
        with pytest.raises(SpecError, match="wraps an estimator that draws nothing"):
            resolve_estimator(name)
