from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from igpo_gym.envs.information_gain import InformationGain, VectorInformationGain
from igpo_gym.errors import ScoringError
from igpo_gym.rewards import split
from tests.conftest import MentionScorer, p
from tests.envs.information_gain.games import Names, Pushed

NAMES = ("Ada", "Grace")
ACTIONS = [("tell", "hm"), ("end", "tell"), ("tell", "tell"), ("tell", "stop"), ("tell", "tell")]


def games(mode: AutoresetMode = AutoresetMode.NEXT_STEP, where: str = "info") -> Any:
    return SyncVectorEnv([lambda name=name: Names(name, where) for name in NAMES], autoreset_mode=mode)


def test_a_step_is_one_call_to_the_scorer() -> None:
    scorer = MentionScorer()
    envs = VectorInformationGain(games(), scorer, mode="replace")
    envs.reset(seed=0)
    rewards = envs.step(("tell", "hm"))[1]
    assert scorer.calls == [2, 2]
    assert rewards.tolist() == pytest.approx([p(1) - p(0), 0.0])


@pytest.mark.parametrize("where", ["info", "name"])
def test_all_is_as_with_single_environments(where: str) -> None:
    """Each environment for itself, reset by hand where the vector form resets it."""
    answers = "answers" if where == "info" else "name"
    envs = VectorInformationGain(games(where=where), MentionScorer(), answers)
    alone = [InformationGain(Names(name, where), MentionScorer(), answers) for name in NAMES]
    envs.reset(seed=0)
    for env in alone:
        env.reset(seed=0)
    ended = [False, False]
    for actions in ACTIONS:
        observations, rewards, terminations, _, infos = envs.step(actions)
        for place, env in enumerate(alone):
            if ended[place]:
                observation, info = env.reset()
                reward, ended[place] = 0.0, False
            else:
                observation, reward, ended[place], _, info = env.step(actions[place])
            assert (observations[place], rewards[place], terminations[place]) == (
                observation,
                pytest.approx(reward),
                ended[place],
            )
            assert infos["belief"][place] == pytest.approx(info["belief"])


class Keeper(Names):
    """Tells whole numbers under the names that the wrapper uses."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        *rest, info = super().step(action)
        return (*rest, info | {"gain": 7, "belief": 1})


@pytest.mark.parametrize("mode", AutoresetMode)
def test_an_environments_own_entries_give_way(mode: AutoresetMode) -> None:
    envs = VectorInformationGain(
        SyncVectorEnv([lambda name=name: Keeper(name) for name in NAMES], autoreset_mode=mode),
        MentionScorer(),
    )
    envs.reset(seed=0)
    infos = envs.step(("tell", "end"))[-1]
    final = infos["final_info"] if mode is AutoresetMode.SAME_STEP else infos
    assert (infos["gain"][0], infos["belief"][0]) == pytest.approx((p(1) - p(0), p(1)))
    assert (final["gain"][1], final["belief"][1]) == pytest.approx((p(1) - p(0), p(1)))
    assert infos["steps"][0] == 1


def test_answers_are_an_attribute_under_other_wrappers() -> None:
    games_ = gym.wrappers.vector.RecordEpisodeStatistics(games(where="name"))
    envs = VectorInformationGain(games_, MentionScorer(), "name")
    envs.reset(seed=0)
    assert [episode.question.answers for episode in envs.episodes] == [(name,) for name in NAMES]


def test_the_end_of_an_episode_in_the_same_step() -> None:
    scorer = MentionScorer()
    envs = VectorInformationGain(games(AutoresetMode.SAME_STEP), scorer)
    envs.reset(seed=0)
    observations, rewards, terminations, _, infos = envs.step(("end", "tell"))
    # Two turns and the prompt of the next episode, in one call.
    assert scorer.calls == [2, 3]
    assert rewards.tolist() == pytest.approx([p(1) - p(0) + 5.0, p(1) - p(0)])
    assert (observations[0], infos["final_obs"][0]) == ("Who is it?", "It was Ada.")
    assert infos["final_info"]["belief"][0] == pytest.approx(p(1))
    assert infos["belief"].tolist() == pytest.approx([p(0), p(1)])
    assert terminations.tolist() == [True, False]
    assert [len(episode.turns) for episode in envs.episodes] == [0, 1]


def test_environments_are_reset_by_a_mask() -> None:
    envs = VectorInformationGain(games(AutoresetMode.DISABLED), MentionScorer())
    envs.reset(seed=0)
    envs.step(("end", "tell"))
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert [len(episode.turns) for episode in envs.episodes] == [0, 1]
    assert envs.step(("tell", "tell"))[1].tolist() == pytest.approx([p(1) - p(0), p(2) - p(1)])


@pytest.mark.parametrize("first", ["end", "tell"])
def test_an_environment_whose_masked_reset_failed_has_to_be_reset_again(first: str) -> None:
    scorer = MentionScorer()
    envs = VectorInformationGain(games(AutoresetMode.DISABLED), scorer)
    envs.reset(seed=0)
    envs.step((first, "tell"))
    mask = np.array([True, False])
    scorer.problem = "down"
    with pytest.raises(ScoringError):
        envs.reset(options={"reset_mask": mask})  # Gymnasium takes the mask out of the options
    scorer.problem = ""
    with pytest.raises(ResetNeeded, match=r"the reset of environments \[0\] failed"):
        envs.step(("tell", "tell"))
    envs.reset(options={"reset_mask": mask})
    envs.step(("tell", "hm"))
    assert [len(episode.turns) for episode in envs.episodes] == [1, 2]


def test_a_step_whose_scorer_fails_is_repeated_without_a_second_move() -> None:
    class Flaky(MentionScorer):
        def score(self, requests: Any) -> Any:
            beliefs = super().score(requests)
            if len(self.calls) == 2:
                raise ScoringError("down")
            return beliefs

    envs = VectorInformationGain(games(), Flaky(), mode="replace")
    envs.reset(seed=0)
    with pytest.raises(ScoringError, match="down"):
        envs.step(("tell", "tell"))
    with pytest.raises(ValueError, match="repeat the same action"):
        envs.step(("tell", "end"))
    rewards, *_, infos = envs.step(("tell", "tell"))[1:]
    assert rewards.tolist() == pytest.approx([p(1) - p(0)] * 2)
    assert infos["steps"].tolist() == [1, 1]


def test_weights_that_change_within_the_episodes_have_all_their_beliefs_asked_anew() -> None:
    scorer = Pushed()
    envs = VectorInformationGain(games(), scorer, mode="replace")
    envs.reset()
    envs.step(("tell", "hm"))
    *_, infos = envs.step(("tell", "tell"))
    assert scorer.calls == [2, 2, 2, 6]
    assert infos["mixed_weights"].tolist() == [True, True]
    assert infos["gain"].tolist() == pytest.approx([(p(2) - p(1)) / 2, (p(1) - p(0)) / 2])


def test_steps_behind_what_the_scorer_reads_have_no_gain() -> None:
    envs = VectorInformationGain(games(), MentionScorer(longest=60), mode="replace")
    envs.reset(seed=0)
    for actions, rewards in ((("tell", "tell"), [p(1) - p(0)] * 2), (("x" * 70, "end"), [0.0, p(2) - p(1)])):
        assert envs.step(actions)[1].tolist() == pytest.approx(rewards)
    long, ended = envs.episodes
    assert split(long, envs.reward).gains == (pytest.approx(p(1) - p(0)), None)
    assert None not in split(ended, envs.reward).gains
    assert not ended.unread
