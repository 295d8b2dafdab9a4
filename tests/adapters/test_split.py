"""The trainer and all adapters make the same gains, outcomes and advantages of the same episodes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.adapters.tokens import found_split, placed_rewards, read_split, row_advantages, split_fields
from igpo_gym.agents.training.batches import turns_of
from igpo_gym.agents.training.estimators import (
    ESTIMATORS,
    Estimator,
    Split,
    Turns,
    per_token,
    resolve_estimator,
)
from igpo_gym.episode import Answer, EndReason, Episode, Invalid, Question, ToolCalls, Turn
from igpo_gym.rewards import RewardFunction, resolve_reward, split
from igpo_gym.tools import search_call

REWARDS = {
    name: resolve_reward(name)
    for name in ("igpo", "igpo - 0.1*search-cost", "gain(every=2) + f1 - 2*format-penalty")
}
"""Without a gain on the last turn, with one, and with turns that have none."""


def played(
    reward: RewardFunction,
    gains: list[float],
    invalid: list[bool],
    f1: float | None,
) -> Episode:
    """An episode from its turns' gains, which messages are malformed, and its F1 (None: no answer)."""
    episode = Episode(Question("q", "Who?", ("Grass",)), ())
    last = Answer("Grass") if f1 is not None else search_call("x")
    actions = [*(Invalid("no") if bad else search_call("x") for bad in invalid[:-1]), last]
    episode.turns = [Turn("m", action, observation="seen") for action in actions]
    episode.end = EndReason.TURNS_EXHAUSTED if f1 is None else EndReason.ANSWERED
    malformed = [*(isinstance(action, Invalid) for action in actions[:-1]), f1 is None]
    first = malformed.index(True) if any(malformed) else -1
    for turn, gain in enumerate(gains):
        ended = turn == len(gains) - 1
        terms = {
            "gain": 0.0 if ended else gain,
            "f1": (f1 or 0.0) if ended else 0.0,
            "format-penalty": -2.0 if turn == first else 0.0,
            "search-cost": -0.1 * isinstance(actions[turn], ToolCalls),
        }
        names = [term.name for _, term in reward.terms]
        episode.rewards.append({name: terms[name.partition("(")[0]] for name in names})
    return episode


def random_batch(draw: np.random.Generator, reward: RewardFunction) -> list[Episode]:
    """Groups of four ragged episodes of at most six turns; gains of exactly 0 among them."""
    made = []
    for _ in range(4 * int(draw.integers(1, 4))):
        length = int(draw.integers(1, 7))
        gains = np.where(draw.random(length) < 0.2, 0.0, draw.normal(0, 0.2, length)).tolist()
        f1 = None if draw.random() < 0.25 else float(draw.choice([0.0, 0.4, 1.0]))
        made.append(played(reward, gains, (draw.random(length) < 0.3).tolist(), f1))
    return made


def by_trainer(
    episodes: list[Episode], reward: RewardFunction, estimator: Estimator, gamma: float
) -> list[np.ndarray[Any, Any]]:
    turns = turns_of([episodes[at : at + 4] for at in range(0, len(episodes), 4)], reward)
    return turns.by_episode(estimator(turns, gamma))


def by_columns(
    episodes: list[Episode], reward: RewardFunction, estimator: Estimator, gamma: float
) -> list[np.ndarray[Any, Any]]:
    """As TRL and verifiers do: the split as JSON values, read again where the advantages are made."""
    rows = [json.loads(json.dumps(split_fields(split(episode, reward)))) for episode in episodes]
    turns = Turns.of([read_split(row) for row in rows], [place // 4 for place in range(len(rows))])
    return turns.by_episode(estimator(turns, gamma))


def token_turns(draw: np.random.Generator, episode: Episode) -> np.ndarray[Any, Any]:
    """The turn of each token of a row: the agent's last message has two tokens at least."""
    numbers: list[int] = []
    for turn in range(1, len(episode.turns) + 1):
        least = 2 if turn == len(episode.turns) else 1
        numbers += [turn] * int(draw.integers(least, 5)) + [0] * int(draw.integers(1, 3))
    return np.array([*numbers, *[0] * (60 - len(numbers))])


@given(
    st.lists(st.none() | st.floats(-2, 2), max_size=5),
    st.floats(-2, 2),
    st.booleans(),
)
def test_rewards_on_tokens_tell_which_turns_have_no_gain(
    gains: list[float | None], outcome: float, last_gain: bool
) -> None:
    own = Split(tuple(gains), outcome, last_gain and bool(gains))
    mask = [1, 1, 0] * own.turns
    found = found_split(mask, placed_rewards(mask, own, "q"), own.last_gain)
    assert [gain is None for gain in found.gains] == [gain is None for gain in own.gains]
    told = [0.0 if gain is None else float32(gain) for gain in (*own.gains, own.outcome)]
    assert [gain or 0.0 for gain in (*found.gains, found.outcome)] == told


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_episode_aborted_before_it_was_priced_is_left_out_everywhere(name: str) -> None:
    """It has no rewards, and changes nothing for its group."""
    estimator, reward = resolve_estimator(name), resolve_reward("f1 - 0.1*search-cost")
    cut = Episode(Question("q", "Who?", ("Grass",)), ())
    cut.append(Turn("m", search_call("x")))
    cut.end, cut.rewards = EndReason.ABORTED, [{}]
    aborted = split(cut, reward)
    assert (aborted.gains, aborted.outcome, aborted.turns) == ((None,), None, 1)
    assert read_split(json.loads(json.dumps(split_fields(aborted)))) == aborted
    whole = [Split((0.3, 0.1, 0.2), 1.0, True), Split((0.0, 0.5), 0.0, True)]
    states = [[1, 2, 3], [1, 2], [1]]
    alone = estimator(Turns.of(whole, ["q"] * 2, states[:2]), 0.9)
    beside = estimator(Turns.of([*whole, aborted], ["q"] * 3, states), 0.9)
    assert beside.tolist() == [*alone.tolist(), 0.0]


NAMES = [name for name in ESTIMATORS if not resolve_estimator(name).needs_states]


def test_trainer_and_adapters_agree_on_random_batches() -> None:
    draw = np.random.default_rng(0)
    malformed = 0
    for number in range(12 * 3 * len(NAMES)):  # twelve with each reward and estimator
        reward = list(REWARDS.values())[number % 3]
        episodes = random_batch(draw, reward)
        malformed += any(
            isinstance(turn.action, Invalid) for episode in episodes for turn in episode.turns[1:-1]
        )
        estimator = resolve_estimator(NAMES[number // 3 % len(NAMES)])
        if estimator.needs_last_gain and not reward.last_gain:
            continue
        expected = by_trainer(episodes, reward, estimator, 0.9)
        columns = by_columns(episodes, reward, estimator, 0.9)
        assert [own.tolist() for own in columns] == [own.tolist() for own in expected]  # bit for bit

        numbers = [token_turns(draw, episode) for episode in episodes]
        masks = np.stack([each > 0 for each in numbers])
        splits = [split(episode, reward) for episode in episodes]
        rewards = np.stack(
            [placed_rewards(mask, each, "q") for mask, each in zip(masks, splits, strict=True)]
        )
        groups = [place // 4 for place in range(len(episodes))]
        spread = row_advantages(estimator, masks, rewards, groups, reward.last_gain, gamma=0.9)
        # verl keeps rewards in float32; beyond that rounding nothing differs.
        rounded = [
            Split(tuple(map(float32, each.gains)), float32(each.outcome), each.last_gain) for each in splits
        ]
        turns = Turns.of(rounded, groups)
        exact = np.stack(per_token(turns, estimator(turns, 0.9), numbers))
        assert spread.tolist() == exact.tolist()
    assert malformed > 0.9 * 12 * 3 * len(NAMES)


def float32(value: float | None) -> float | None:
    return None if value is None else float(np.float32(value))


SEPARATE = resolve_estimator("igpo-separate")


def test_the_advantages_of_a_group_with_a_malformed_first_message() -> None:
    """Raw sums of turns would give [1.74 1.38 1 | -1.08 1.37 1 | -.52 -1 | -.15 -.53 -1]."""
    gains = [[0.0, 0.0048, 9.0], [0.0054, 0.0, 9.0], [0.0819, 9.0], [0.0054, 0.0741, 9.0]]
    reward = REWARDS["igpo"]
    invalid = [[False] * 3, [True, False, False], [False] * 2, [False] * 3]
    episodes = [played(reward, *given) for given in zip(gains, invalid, (1.0, 1.0, 0.0, 0.0), strict=True)]
    expected = [0.11, 0.83, 1.41, -2.69, -2.13, -1.41, 1.69, 0.0, 0.9, 1.46, 0.0]
    for way in (by_trainer, by_columns):
        values = np.concatenate(way(episodes, reward, SEPARATE, 1.0))
        assert values == pytest.approx(expected, abs=0.011)


def test_gain_and_outcome_lie_on_the_ends_of_runs() -> None:
    mask = [0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0]
    row = placed_rewards(mask, Split((0.5, 0.25), 1.0), "q")
    assert row.dtype == np.float32
    assert row.tolist() == [0, 0.5, 0, 0, 0, 0.25, 0, 0, 0, 1, 0]
    assert found_split(mask, row, last_gain=False) == Split((0.5, 0.25), 1.0)
    row = placed_rewards(mask, Split((0.5, 0.25, -2.0), 1.0, True), "q")
    assert row.tolist() == [0, 0.5, 0, 0, 0, 0.25, 0, -2, 0, 1, 0]
    assert found_split(mask, row, last_gain=True) == Split((0.5, 0.25, -2.0), 1.0, True)


def test_a_gain_of_0_and_no_gain_are_told_apart() -> None:
    mask = [1, 1, 0, 1, 0, 1, 1]
    for gains in ((0.0, None), (None, -0.0), (-1e-50, None)):  # the last is 0 in float32
        row = placed_rewards(mask, Split(gains, 1.0), "q")
        assert row.sum() == 1.0
        found = found_split(mask, row, last_gain=False).gains
        assert [gain is None for gain in found] == [gain is None for gain in gains]
    # on a last token that is the first of its run too, the outcome stands alone
    assert placed_rewards([1, 0, 1], Split((0.5, None), 0.0, True), "q").tolist() == [0.5, 0.0, 0.0]


def test_a_last_run_of_one_token_carries_the_sum_as_outcome() -> None:
    row = placed_rewards([1, 0, 1], Split((0.5, -0.25), 1.0, True), "q")
    assert row.tolist() == [0.5, 0, 0.75]
    assert found_split([1, 0, 1], row, last_gain=True) == Split((0.5,), 0.75)


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        ([1, 1, 0, 1, 0, 1], "'q-birth' has 2 turns and 3 stretches"),
        ([1, 1, 1, 1, 0], "2 turns and 1 stretches"),
    ],
)
def test_rows_that_do_not_show_their_turns_are_refused_by_name(mask: list[int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        placed_rewards(mask, Split((0.5,), 1.0), "q-birth")
    with pytest.raises(ValueError, match=r"'q-birth' has 1 turns and 1 stretches .* its outcome is None"):
        placed_rewards([1, 1, 0], Split((0.5,), None, True), "q-birth")


def test_rewards_where_none_belong_are_refused() -> None:
    with pytest.raises(ValueError, match="use_kl_in_reward must be off"):
        found_split([1, 1, 0, 1, 1], [0.5, 0.01, 0, 0, 1], last_gain=False)
    with pytest.raises(ValueError, match="needs the estimator NAME-last"):
        found_split([1, 1, 0, 1, 1], [0.5, 0, 0, 0.25, 1], last_gain=False)


def test_rows_without_a_turn_count_among_no_others() -> None:
    separate = resolve_estimator("igpo-separate")
    masks, rewards = [[1, 0, 1], [1, 0, 1], [0, 0, 0]], [[0.5, 0, 1], [0.1, 0, 0], [0, 0, 0]]
    with_padding = row_advantages(separate, masks, rewards, ["q", "q", "q"], last_gain=False)
    assert with_padding == pytest.approx(np.array([[2, 0, 1], [-2, 0, -1], [0, 0, 0]]), abs=1e-3)
    assert not row_advantages(separate, [[0, 0]], [[0, 0]], ["q"], last_gain=False).any()
