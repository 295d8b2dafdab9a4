from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tinker_cookbook", reason="Tinker cookbook is not installed")

from tinker_cookbook.rl import train
from tinker_cookbook.rl.data_processing import compute_advantages
from tinker_cookbook.rl.rollout_limits import RolloutLimits
from tinker_cookbook.rl.rollout_runner import run_rollout
from tinker_cookbook.rl.rollouts import do_group_rollout
from tinker_cookbook.rl.types import StopReason, Trajectory, TrajectoryGroup
from tinker_cookbook.tokenizer_utils import register_tokenizer, unregister_tokenizer

from igpo_gym.adapters import tinker
from igpo_gym.adapters.tinker import (
    SearchQADatasetBuilder,
    SearchQAGroup,
    group_advantages,
    turn_credit,
    turn_data,
)
from igpo_gym.errors import SpecError
from igpo_gym.protocols import CHAT
from tests.adapters.episodes import ATTEMPTS, QUESTION, settings, trained
from tests.adapters.scripted import TAIL, ScriptedCompleter

MODEL = "tests/scripted"


@pytest.fixture(autouse=True)
def tokenizer() -> Iterator[None]:
    register_tokenizer(MODEL, lambda: ScriptedCompleter().tokenizer)
    tinker.framing.cache_clear()
    yield
    unregister_tokenizer(MODEL)


def builder(given: dict[str, Any], attempts: int = len(ATTEMPTS)) -> SearchQAGroup:
    return SearchQAGroup(QUESTION, attempts, MODEL, given)


def group_of(given: dict[str, Any], completer: ScriptedCompleter, attempts: int) -> TrajectoryGroup:
    return asyncio.run(do_group_rollout(builder(given, attempts), completer))


def spoken(completer: ScriptedCompleter, trajectory: Trajectory) -> tuple[str, ...]:
    """What was sampled in a trajectory, without the tokens that end messages."""
    texts = (completer.tokenizer.decode(transition.ac.tokens) for transition in trajectory.transitions)
    return tuple(text.removesuffix("<|im_end|>") for text in texts)


def test_each_turns_advantage_reaches_the_data_of_the_loss() -> None:
    given = settings(CHAT)
    completer = ScriptedCompleter(*ATTEMPTS)
    group = group_of(given, completer, len(ATTEMPTS))
    scripts = [spoken(completer, trajectory) for trajectory in group.trajectories_G]
    assert sorted(scripts) == sorted(ATTEMPTS)
    expected = trained(given, scripts)
    assert [[own.tolist() for own in each] for each in group_advantages([group])] == [expected]

    with turn_credit("igpo-separate"):
        data, metrics, _ = asyncio.run(
            train.prepare_minibatch([builder(given)], [group], completer.tokenizer, None, 0.0, 0.0)
        )
    assert metrics["env/all/em"] == pytest.approx(1 / 3)
    assert len(data) == len(ATTEMPTS)
    for datum, trajectory, own in zip(data, group.trajectories_G, expected, strict=True):
        inputs = datum.loss_fn_inputs
        mask, targets = inputs["mask"].to_numpy() > 0, inputs["target_tokens"].to_numpy()
        sampled = [transition.ac.tokens for transition in trajectory.transitions]
        assert targets[mask].tolist() == [number for tokens in sampled for number in tokens]
        placed = inputs["advantages"].to_numpy()
        spread = [value for value, tokens in zip(own, sampled, strict=True) for _ in tokens]
        assert placed[mask].tolist() == np.float32(spread).tolist()
        assert not placed[~mask].any()
    assert train.compute_advantages is compute_advantages


def test_what_is_sampled_beyond_an_action_is_trained_and_not_shown() -> None:
    given = settings(CHAT)
    completer = ScriptedCompleter(ATTEMPTS[0], tail=TAIL)
    (trajectory,) = group_of(given, completer, 1).trajectories_G
    first, second = trajectory.transitions
    transcript = completer.tokenizer.decode(second.ob.to_ints())
    assert ATTEMPTS[0][0] in transcript
    assert TAIL not in transcript
    data = turn_data(trajectory, [0.5, -0.5])
    assert len(data) == 2  # the second observation does not begin with what was sampled before
    for datum, transition, value in zip(data, (first, second), (0.5, -0.5), strict=True):
        assert datum.loss_fn_inputs["advantages"].to_numpy().tolist()[-len(transition.ac.tokens) :] == [
            value
        ] * len(transition.ac.tokens)


def test_an_episode_that_the_library_cuts_short_runs_out_of_room() -> None:
    given = settings(CHAT)
    group = builder(given, 1)

    async def play(limits: RolloutLimits) -> tuple[Trajectory, float]:
        envs = await group.make_envs()
        trajectory = await run_rollout(ScriptedCompleter(ATTEMPTS[2]), envs[0], limits=limits)
        ((reward, _),) = await group.compute_group_rewards([trajectory], envs)
        return trajectory, reward

    trajectory, reward = asyncio.run(play(RolloutLimits(max_turns=2)))
    assert trajectory.stop_reason == StopReason.MAX_TURNS
    first, second = (transition.reward for transition in trajectory.transitions)
    assert second + reward == pytest.approx(-2.0)  # the last turn's gain is taken back
    told = json.loads(trajectory.transitions[-1].logs[tinker.LOG])
    assert (told["turn_gains"], told["outcome"], told["last_gain"]) == ([first], -2.0, False)

    nothing, reward = asyncio.run(play(RolloutLimits(max_trajectory_tokens=4)))
    assert (len(nothing.transitions), reward) == (1, 0.0)
    both = TrajectoryGroup([trajectory, nothing], [0.0, 0.0], [{}, {}])
    advantages = group_advantages([both])
    assert [len(own) for own in advantages[0]] == [2, 0]
    assert turn_data(nothing, advantages[0][1]) == []


def test_the_builder_makes_groups_that_can_be_pickled_and_hold_no_answer() -> None:
    made = SearchQADatasetBuilder(
        model_name=MODEL,
        questions="world#documents=60,questions=10",
        test_questions="world:test#documents=60,questions=10",
        scorer=None,
        reward="f1",
        batch_size=4,
        attempts=2,
    )
    training, test = asyncio.run(made())
    assert test is not None
    groups = [group for place in range(len(training)) for group in training.get_batch(place)]
    assert len({group.question_id for group in groups}) == len(groups) > 4
    assert [len(asyncio.run(group.make_envs())) for group in groups[:2]] == [2, 2]
    assert len(asyncio.run(test.get_batch(0)[0].make_envs())) == 1
    assert [group.question_id for group in groups] != sorted(group.question_id for group in groups)
    copy = pickle.loads(pickle.dumps(groups[0]))
    assert copy == groups[0]
    (env, _) = asyncio.run(copy.make_envs())
    assert env.episode.question.answers[0].encode() not in pickle.dumps(groups[0])


def test_a_password_is_in_no_configuration() -> None:
    url = "http://me:secret@host:8000/v1"
    with pytest.raises(SpecError, match="scorer: this library writes its configuration"):
        SearchQADatasetBuilder(model_name="tiny", scorer=url)
    assert "secret" not in repr(SearchQAGroup("q", 2, "tiny", {"scorer": url}))


def test_wrong_uses_are_explained() -> None:
    group = group_of(settings(CHAT), ScriptedCompleter(ATTEMPTS[0]), 1)
    with pytest.raises(SpecError, match="gigpo compares states"):
        group_advantages([group], "gigpo")
    with pytest.raises(SpecError, match="were paid gains"):
        group_advantages([group], "grpo")
    (trajectory,) = group.trajectories_G
    with pytest.raises(ValueError, match="2 messages were sampled, but 1 turns were rewarded"):
        turn_data(trajectory, [1.0])
    trajectory.transitions[-1].logs.clear()
    with pytest.raises(ValueError, match="its environment is not this adapter's"):
        group_advantages([group])
