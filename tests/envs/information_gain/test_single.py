from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded

from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.envs.information_gain import InformationGain
from igpo_gym.envs.spaces import UnicodeText
from igpo_gym.episode import Belief, EndReason
from igpo_gym.errors import ScoringError, SpecError
from igpo_gym.protocols import AnswerProbe
from igpo_gym.rewards import RewardFunction, RewardTerm, split
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.tools import queries
from tests.conftest import MentionScorer, p
from tests.envs.information_gain.games import Names, Pushed


def test_every_step_is_paid_the_change_of_the_belief_the_last_one_too() -> None:
    env = InformationGain(Names(), MentionScorer(), mode="replace")
    prompt, info = env.reset(seed=0)
    assert (prompt, info["belief"]) == ("Who is it?", pytest.approx(p(0)))
    earned = []
    for action in ("tell", "hm", "end"):
        observation, reward, terminated, truncated, info = env.step(action)
        earned.append(reward)
    assert earned == pytest.approx([p(1) - p(0), 0.0, p(2) - p(1)])
    assert sum(earned) == pytest.approx(p(2) - p(0))
    assert (observation, terminated, truncated) == ("It was Ada.", True, False)
    assert info["steps"] == 3  # the environment's own info is kept
    assert info["gain"] == pytest.approx(earned[-1])
    assert "Ada" not in str({name: value for name, value in info.items() if name != "answers"})
    with pytest.raises(ResetNeeded):
        env.step("tell")


def test_the_environments_own_reward_is_the_outcome() -> None:
    env = InformationGain(Names(), MentionScorer())
    env.reset()
    env.step("tell")
    *_, info = env.step("end")
    assert info["reward_terms"] == {"gain": pytest.approx(p(2) - p(1)), "environment": 5.0}
    assert env.episode is not None
    divided = split(env.episode, env.reward)
    assert divided.gains == pytest.approx((p(1) - p(0), p(2) - p(1)))
    assert (divided.outcome, divided.last_gain) == (5.0, True)


def test_a_step_that_ends_without_an_observation_is_paid_no_gain() -> None:
    env = InformationGain(Names(), MentionScorer())
    env.reset()
    env.step("tell")
    _, reward, *_, info = env.step("stop")
    assert (reward, info["gain"], info["end_reason"]) == (5.0, 0.0, "answered")
    assert env.episode is not None
    assert split(env.episode, env.reward).gains == pytest.approx((p(1) - p(0), 0.0))


def test_weights_that_change_within_the_episode_have_all_its_beliefs_asked_anew() -> None:
    scorer = Pushed()
    env = InformationGain(Names(), scorer, mode="replace")
    assert env.reset()[1]["mixed_weights"] is False
    *_, info = env.step("tell")
    assert info["mixed_weights"] is False
    _, reward, *_, info = env.step("tell")
    assert scorer.calls == [1, 1, 1, 3]
    assert reward == info["gain"] == pytest.approx((p(2) - p(1)) / 2)
    assert info["mixed_weights"] is True
    assert env.episode is not None
    assert [belief.prob for belief in env.episode.beliefs] == pytest.approx([p(n) / 2 for n in range(3)])
    assert to_record(env.episode)["mixed_weights"] is True


@pytest.mark.parametrize(
    ("game", "answers"),
    [
        (Names("Ada"), "answers"),
        (Names("Ada", where="field"), "name"),
        (Names("Ada", where="field"), lambda env, info: env.unwrapped.name),
        (Names("Ada", where="field"), ["Ada", "Countess of Lovelace"]),
    ],
)
def test_answers_come_from_info_a_field_a_function_or_are_given(game: Names, answers: Any) -> None:
    env = InformationGain(game, MentionScorer(), answers, mode="replace")
    env.reset()
    assert env.step("tell")[1] == pytest.approx(p(1) - p(0))
    assert env.episode is not None
    assert env.episode.question.answers[0] == "Ada"


def test_what_is_no_answer_is_named_and_not_shown() -> None:
    with pytest.raises(ValueError, match="neither info nor the environment has 'answers'"):
        InformationGain(Names(where="field"), MentionScorer()).reset()
    with pytest.raises(ValueError, match="the answers of 'episode 0' are an empty list"):
        InformationGain(Names(), MentionScorer(), lambda env, info: []).reset()


def test_terms_are_those_that_need_no_search() -> None:
    env = InformationGain(Names(), MentionScorer(), reward="0.5*log-gain + new-best", mode="replace")
    env.reset()
    *_, info = env.step("tell")
    assert info["reward_terms"]["new-best"] == pytest.approx(p(1) - p(0))
    refused = ("igpo", "f1", "gain(context=evidence)", "document-gain", "value-gain", "gain(tools=open)")
    for reward in (*refused, "evidence-recall", "gain - 0.1*search-cost", "redundancy"):
        with pytest.raises((SpecError, ValueError)):
            InformationGain(Names(), MentionScorer(), reward=reward)
    words = RewardTerm("words", lambda episode, turn: len(queries(episode.turns[turn - 1].action)))
    mine = replace(words, searches=True)
    InformationGain(Names(), MentionScorer(), reward=RewardFunction("mine", ((1.0, words),)))
    with pytest.raises(SpecError, match="'words' needs what only a search environment has"):
        InformationGain(Names(), MentionScorer(), reward=RewardFunction("mine", ((1.0, mine),)))
    with pytest.raises(ValueError, match="mode is 'add' or 'replace'"):
        InformationGain(Names(), MentionScorer(), mode="both")  # type: ignore[arg-type]


@pytest.mark.parametrize("last", ["end", "stop", "x" * 50])
def test_a_potential_is_closed_at_the_end(last: str) -> None:
    """Its sum is minus the first belief whatever the agent did: with a last word, without, and cut off."""
    env = InformationGain(Names(), MentionScorer(longest=40), reward="shaping", mode="replace")
    env.reset()
    earned = [env.step(action)[1] for action in ("tell", last)]
    assert earned == pytest.approx([p(1) - p(0), -p(1)])
    assert split(env.episode, env.reward).gains == pytest.approx((p(1) - p(0), -p(1)))


def test_a_transcript_that_grows_too_long_truncates() -> None:
    env = InformationGain(Names(), MentionScorer(longest=40))
    env.reset()
    _, reward, terminated, truncated, info = env.step("x" * 50)
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["end_reason"] == EndReason.CONTEXT_EXHAUSTED
    assert split(env.episode, env.reward).gains == (None,)
    assert env.episode.unread == {1}


def test_a_step_whose_scorer_fails_is_repeated_without_a_second_move() -> None:
    class Flaky(MentionScorer):
        def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
            beliefs = super().score(requests)
            if len(self.calls) == 2:
                raise ScoringError("down")
            return beliefs

    game = Names()
    env = InformationGain(game, Flaky(), mode="replace")
    env.reset()
    with pytest.raises(ScoringError, match="down"):
        env.step("tell")
    with pytest.raises(ValueError, match="repeat the same action"):
        env.step("end")
    assert env.step("tell")[1] == pytest.approx(p(1) - p(0))
    assert game.steps == 1


def test_what_is_no_text_is_refused_before_the_environment_moves() -> None:
    env = InformationGain(Names(), MentionScorer())
    env.reset()
    with pytest.raises(TypeError, match="7 is no text: give observation_text="):
        env.step(7)
    assert env.unwrapped.steps == 0  # type: ignore[attr-defined]


def test_an_episode_is_recorded_as_any_other() -> None:
    env = InformationGain(Names(), MentionScorer())
    env.reset()
    env.step("tell")
    env.step("end")
    assert env.episode is not None
    again = from_record(to_record(env.episode, env.reward))
    assert (again.rewards, again.beliefs, again.turns) == (
        env.episode.rewards,
        env.episode.beliefs,
        env.episode.turns,
    )


def test_an_environment_of_gymnasium_with_texts() -> None:
    """FrozenLake: the squares that were visited are told by number, and the last one is the goal's."""
    lake = gym.make("FrozenLake-v1", is_slippery=False)
    moves = {"left": 0, "down": 1, "right": 2, "up": 3}
    env = InformationGain(
        lake,
        MentionScorer(),
        ["square 15"],
        observation_text=lambda square: f"You are on square {square}.",
        action_text=lambda move: next(word for word, number in moves.items() if number == move),
    )
    env.reset(seed=0)
    rewards = [env.step(moves[word])[1] for word in ("down", "down", "right", "right", "down", "right")]
    # Square 15 is told once, with the lake's own reward of 1.
    assert rewards == pytest.approx([0, 0, 0, 0, 0, p(1) - p(0) + 1])
    assert env.episode is not None
    assert env.episode.turns[0].message == "down"


def test_its_spec_makes_it_again_and_holds_no_password() -> None:
    class Game(gym.Env):  # type: ignore[type-arg]
        observation_space = action_space = UnicodeText()

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return "What?", {"answers": "a pear"}

        def step(self, action: Any) -> Any:
            return "A pear.", 0.0, True, False, {}

    gym.register("PearGame-v0", Game)
    try:
        probe = AnswerProbe("It is ", ".")
        url = "http://me:secret@127.0.0.1:9/v1"
        made = InformationGain(gym.make("PearGame-v0"), MentionScorer(), reference=url, probe=probe)
        assert made.spec is not None
        wrapper = made.spec.additional_wrappers[-1]
        assert wrapper.kwargs is not None
        assert wrapper.kwargs["reference"] == "http://127.0.0.1:9/v1"
        assert wrapper.kwargs["probe"] == probe
        assert "secret" not in repr(made.spec)
    finally:
        del gym.registry["PearGame-v0"]


def test_it_comes_back_from_its_specs_json() -> None:
    gym.register("NamesGame-v0", "tests.envs.information_gain.games:Names")
    try:
        env = InformationGain(gym.make("NamesGame-v0"), "nano", probe=AnswerProbe("It is \n", "."))
        assert env.spec is not None
        again = gym.make(EnvSpec.from_json(env.spec.to_json()))
        assert again.reset()[1]["belief"] == env.reset()[1]["belief"]
    finally:
        del gym.registry["NamesGame-v0"]


def test_a_copy_shares_the_models() -> None:
    env = InformationGain(Names(), MentionScorer())
    assert copy.copy(env).reward is env.reward


def test_a_pickled_one_goes_on() -> None:
    env = InformationGain(Names(), MentionScorer(), reward="log-gain", probe=AnswerProbe("It is ", "."))
    env.reset(seed=0)
    env.step("tell")
    other = pickle.loads(pickle.dumps(env))
    assert env.step("tell") == other.step("tell")
    assert env.episode == other.episode
    assert split(env.episode, env.reward) == split(other.episode, other.reward)
    assert env.reset(seed=1) == other.reset(seed=1)
