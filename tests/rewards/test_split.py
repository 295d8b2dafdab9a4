from __future__ import annotations

import math
from dataclasses import replace

import pytest

from igpo_gym.agents.training.estimators import Turns, resolve_estimator
from igpo_gym.episode import (
    Action,
    Answer,
    Belief,
    BeliefView,
    Episode,
    Invalid,
    ToolCall,
    ToolCalls,
    ToolResult,
)
from igpo_gym.errors import SpecError
from igpo_gym.rewards import RewardFunction, RewardTerm, Split, resolve_reward, split
from tests.rewards.played import SEARCH, play, prices

RIGHT, WRONG, BAD = Answer("Danzig"), Answer("Cologne"), Invalid("no action")


def paid(
    spec: str | RewardFunction, *actions: Action, beliefs: tuple[float, ...] = (), truncated: bool = False
) -> Episode:
    """An episode as the engine pays it: each turn when it has been played, the last one when it has ended."""
    episode, reward = play(*actions, beliefs=beliefs, truncated=truncated), resolve_reward(spec)
    until = [episode.until(turn) for turn in range(1, len(actions))]
    for each in until:
        each.beliefs = episode.beliefs
    episode.rewards = [reward.price(each, len(each.turns)) for each in (*until, episode)]
    return episode


def splits(spec: str, *episodes: Episode) -> list[Split]:
    return [split(episode, resolve_reward(spec)) for episode in episodes]


def test_what_outcome_terms_pay_anywhere_is_the_outcome() -> None:
    episode = paid("igpo", BAD, SEARCH, RIGHT, beliefs=(0.1, 0.2, 0.5))
    made = split(episode, resolve_reward("igpo"))
    assert made.gains == pytest.approx((0.1, 0.3))
    assert (made.outcome, made.last_gain, made.turns) == (-1.0, False, 3)
    assert made.rewards == pytest.approx((0.1, 0.3, -1.0))


def test_a_last_turn_has_a_gain_where_a_term_says_that_it_pays_there() -> None:
    spec = "igpo - 0.01*search-cost"
    answered = paid(spec, SEARCH, RIGHT, beliefs=(0.1, 0.5))
    made = split(answered, resolve_reward(spec))
    assert made.gains == pytest.approx((0.4 - 0.01, 0.0))
    assert (made.outcome, made.last_gain) == (1.0, True)
    lost = split(paid(spec, SEARCH, SEARCH, beliefs=(0.1, 0.5, 0.9), truncated=True), resolve_reward(spec))
    assert lost.gains == pytest.approx((0.39, -0.01))
    assert lost.rewards == pytest.approx((0.39, -2.01))
    assert {spec: resolve_reward(spec).last_gain for spec in ("igpo", "potential", "f1", "redundancy")} == {
        "igpo": False,
        "potential": True,
        "f1": False,
        "redundancy": True,
    }


def test_the_last_search_of_an_episode_that_runs_out_of_turns_has_no_gain() -> None:
    # It is measured all the same: the belief after it is there.
    for name in ("igpo", "igpo-logprob", "watermark"):
        episode = paid(name, SEARCH, SEARCH, beliefs=(0.1, 0.5, 0.9), truncated=True)
        made = split(episode, resolve_reward(name))
        assert (len(made.gains), made.outcome) == (1, -2.0)
        assert sum(episode.rewards[-1].values()) == -2.0


@pytest.mark.parametrize("count", range(1, 7))
def test_a_penalty_is_paid_once_an_episode(count: int) -> None:
    answered = paid("igpo", *[BAD] * count, RIGHT, beliefs=(0.1,) * (count + 1))
    lost = paid("igpo", *[BAD] * count, beliefs=(0.1,) * (count + 1), truncated=True)
    assert [each.outcome for each in splits("igpo", answered, lost)] == [-1.0, -2.0]
    # The sum of the steps is what a trainer sees.
    assert answered.total_reward == pytest.approx(-1.0)


def test_shaping_does_not_rank_evidence_below_luck() -> None:
    """An expert, a slower one and a lucky guess are right; the last episode is wrong."""
    episodes = [
        paid("potential", SEARCH, SEARCH, RIGHT, beliefs=(0.1, 0.5, 0.9)),
        paid("potential", SEARCH, SEARCH, SEARCH, RIGHT, beliefs=(0.1, 0.1, 0.6, 0.95)),
        paid("potential", RIGHT, beliefs=(0.1,)),
        paid("potential", SEARCH, WRONG, beliefs=(0.1, 0.1)),
    ]
    made = splits("potential", *episodes)
    assert [each.outcome for each in made] == [1.0, 1.0, 1.0, 0.0]
    assert made[0].gains == pytest.approx((0.4, 0.4, -0.9))
    turns = Turns.of(made, ["q"] * 4)
    for values in turns.by_episode(resolve_estimator("grpo")(turns))[:3]:
        assert values == pytest.approx([1 / math.sqrt(3)] * len(values), abs=1e-4)  # +0.58
    assert resolve_estimator("grpo")(turns)[-2:] == pytest.approx([-math.sqrt(3)] * 2, abs=1e-4)  # -1.73
    # Where returns are compared, shaping sums to minus the first belief for all of them.
    assert turns.returns == pytest.approx([0.9, 0.9, 0.9, -0.1])


def test_an_episode_that_did_not_end_has_no_outcome() -> None:
    running = paid("igpo", SEARCH, SEARCH, beliefs=(0.1, 0.2, 0.5))
    made = split(running, resolve_reward("igpo"))
    assert made.gains == pytest.approx((0.1, 0.3))
    assert (made.outcome, made.turns) == (None, 2)
    nothing = split(play(), resolve_reward("igpo"))
    assert (nothing.turns, nothing.rewards, nothing.outcome) == (0, (), None)


def test_rewards_that_do_not_match_are_refused() -> None:
    episode = paid("igpo", SEARCH, RIGHT, beliefs=(0.1, 0.5))
    with pytest.raises(
        ValueError, match=r"paid for gain, f1, format-penalty, but the terms of .*'f1' are f1"
    ):
        split(episode, resolve_reward("f1"))
    del episode.rewards[-1]
    with pytest.raises(ValueError, match="'1' has 2 turns, but 1 were rewarded"):
        split(episode, resolve_reward("igpo"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, None])
def test_a_reward_that_is_no_finite_number_is_refused_with_its_episode_and_term(value: float | None) -> None:
    broken = RewardTerm("broken", lambda episode, turn: value if turn == 2 else 0.0)  # type: ignore[arg-type, return-value]
    reward = RewardFunction("mine", ((1.0, broken), *resolve_reward("f1").terms))
    problem = (
        rf"'broken' gives {value}, which is no finite number, for turn 2 of the episode on '1' \(attempt 0\)"
    )
    with pytest.raises(ValueError, match=problem):
        paid(reward, SEARCH, RIGHT)
    episode = paid("f1", SEARCH, RIGHT)
    for terms in episode.rewards:
        terms["broken"] = 0.0
    episode.rewards[1]["broken"] = value  # type: ignore[assignment]
    with pytest.raises(ValueError, match=problem):
        split(episode, reward)


OPEN = ToolCalls((ToolCall("open", {"title": "Danzig"}),))


def test_a_turn_that_no_term_counts_is_a_member_of_no_set() -> None:
    """Two turns search, the third opens: it has the change since the prompt."""
    beliefs = tuple(math.exp(each) for each in (-4.0, -3.0, -2.5, -1.0))
    spec = "log-gain(tools=open) + f1"
    opened = paid(spec, SEARCH, SEARCH, OPEN, RIGHT, beliefs=beliefs)
    made = split(opened, resolve_reward(spec))
    assert made.gains == (None, None, pytest.approx(3.0))
    assert (made.outcome, made.turns) == (1.0, 4)
    assert made.rewards == (0.0, 0.0, pytest.approx(3.0), 1.0)
    # The second of two turns that open has the change since the first.
    twice = paid(spec, OPEN, SEARCH, OPEN, RIGHT, beliefs=beliefs)
    assert split(twice, resolve_reward(spec)).gains == (pytest.approx(1.0), None, pytest.approx(2.0))
    turns = Turns.of([made, split(twice, resolve_reward(spec))], groups=["q", "q"])
    assert turns.exists.tolist() == [False, False, True, False, True, False, True, False]
    # By hand: gains 3 | 1, 2 have mean 2 and std sqrt(2 / 3); the outcomes are equal. Nothing is accumulated
    # behind the last gain.
    z = 1 / math.sqrt(2 / 3)
    assert resolve_estimator("igpo-separate")(turns).tolist() == pytest.approx(
        [z, z, z, 0, -z, 0, 0, 0], abs=1e-5
    )
    # Jointly the two outcomes of 1 are members too: mean 1.6, variance 0.64; a turn without a gain is none.
    assert resolve_estimator("igpo-joint")(turns, gamma=0.0).tolist() == pytest.approx(
        [0, 0, 1.75, -0.75, -0.75, 0, 0.5, -0.75], abs=1e-4
    )


def test_a_gain_every_so_many_turns() -> None:
    spec = "gain(every=2) + f1"
    episode = paid(spec, SEARCH, SEARCH, SEARCH, SEARCH, RIGHT, beliefs=(0.1, 0.2, 0.4, 0.3, 0.9))
    assert split(episode, resolve_reward(spec)).gains == (
        None,
        pytest.approx(0.3),
        None,
        pytest.approx(0.5),
    )
    # A call that failed in a turn that counts is paid nothing; what came before it is in the next gain.
    failed = replace(episode.turns[1], results=(ToolResult(failed=True),))
    episode = play(SEARCH, SEARCH, SEARCH, SEARCH, RIGHT, beliefs=(0.1, 0.5, 0.5, 0.5, 0.6))
    episode.turns[1] = failed
    (_, term), _ = resolve_reward(spec).terms
    assert prices(term, episode) == pytest.approx([0, 0, 0, 0.5, 0])
    with pytest.raises(SpecError, match="every must be at least 1"):
        resolve_reward("gain(every=0)")


def test_terms_that_count_all_turns_leave_none_out() -> None:
    spec = "gain(tools=open) - 0.01*search-cost + f1"
    episode = paid(spec, SEARCH, OPEN, RIGHT, beliefs=(0.1, 0.2, 0.4))
    assert split(episode, resolve_reward(spec)).gains == pytest.approx((-0.01, 0.3, 0.0))


def test_an_answer_without_any_search_is_an_outcome() -> None:
    spec = "f1 - 0.5*no-search"
    lucky, searched = paid(spec, RIGHT), paid(spec, SEARCH, RIGHT)
    unanswered = paid(spec, BAD, truncated=True)
    assert [each.outcome for each in splits(spec, lucky, searched, unanswered)] == [0.5, 1.0, 0.0]


def test_terms_that_ask_no_model_tell_of_a_turn_that_none_could_read() -> None:
    spec = "gain + f1 - 0.1*search-cost"
    episode = paid(spec, SEARCH, SEARCH, RIGHT, beliefs=(0.1, 0.1, 0.1))
    episode.note_unread(1)
    assert split(episode, resolve_reward(spec)).gains == pytest.approx((-0.1, -0.1, 0.0))
    of_beliefs = paid("igpo", SEARCH, SEARCH, RIGHT, beliefs=(0.1, 0.1, 0.3))
    of_beliefs.note_unread(1)
    assert split(of_beliefs, resolve_reward("igpo")).gains == (None, pytest.approx(0.2))


def test_a_potential_is_closed_in_a_state_that_nobody_could_read() -> None:
    episode = paid("potential", SEARCH, SEARCH, beliefs=(0.1, 0.4, 0.4), truncated=True)
    episode.note_unread(2)
    made = split(episode, resolve_reward("potential"))
    assert made.gains == pytest.approx((0.3, -0.4))
    assert sum(made.rewards) == pytest.approx(-0.1 - 2.0)


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("read", [1, 2, 3, 4])
def test_a_potential_sums_to_minus_its_first_value_wherever_the_scorer_reads_no_further(
    gamma: float, read: int
) -> None:
    known = (0.1, 0.4, 0.7, 0.2)[:read]
    episode = play(SEARCH, SEARCH, SEARCH, RIGHT, beliefs=(*known, *[known[-1]] * (4 - read)))
    for state in range(read, 4):
        episode.note_unread(state)
    reward = resolve_reward(f"shaping(gamma={gamma})")
    episode.rewards = [reward.price(episode, turn) for turn in range(1, 5)]
    made = split(episode, reward)
    returned = sum(gamma**turn * paid for turn, paid in enumerate(made.rewards))
    assert returned == pytest.approx(-0.1)
    # Where nothing is discounted, such a turn is paid nothing, and is no member of any set.
    assert [gain is None for gain in made.gains] == [gamma == 1 and read <= turn < 4 for turn in range(1, 5)]


@pytest.mark.parametrize("spec", ["ig-search(samples=1)", "gain(every=2) + f1"])
def test_a_turn_that_none_could_read_is_paid_nothing_for_it(spec: str) -> None:
    """Neither other documents, nor what came before it."""
    reward, episode = resolve_reward(spec), play(SEARCH, SEARCH, RIGHT)
    before, after = (Belief((math.log(value),), ((math.log(value),),)) for value in (0.1, 0.4))
    episode.beliefs = [before, after, after]
    episode.views = [{BeliefView(draw=0): before}] * 3
    assert sum(reward.price(episode, 2).values()) != 0.0
    episode.note_unread(2)
    assert sum(reward.price(episode, 2).values()) == 0.0
