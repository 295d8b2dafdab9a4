from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

import igpo_gym  # noqa: F401
from igpo_gym.envs import SearchQAEnv, SearchQAVectorEnv
from igpo_gym.envs.questions import QuestionStream
from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError
from igpo_gym.scorers.interface import BeliefRequest
from tests.conftest import QUESTIONS, MentionScorer

MODES = list(AutoresetMode)
MESSAGES = (
    "<search>Tin Drum</search>",
    "<search>river</search><search>port</search>",
    "hm",
    "<answer>Odra</answer>",
    "<search>Günter Grass</search>",
)


class Flaky(MentionScorer):
    """Fails once, at the call of that number from now on."""

    fails_at = 0

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise ScoringError("the server blinked")
        return super().score(requests)


def of_env(infos: dict[str, Any], index: int) -> dict[str, Any]:
    """The info of one environment, as the single form would give it."""
    return {
        key: of_env(value[index] if isinstance(value, list) else value, index)
        if isinstance(value, dict)
        else value[index]
        for key, value in infos.items()
        if not key.startswith("_") and infos[f"_{key}"][index]
    }


def plain(value: Any) -> Any:
    """The same with lists for arrays and tuples, which ``==`` compares."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple, np.ndarray)) else value


@pytest.mark.parametrize("mode", MODES)
def test_it_plays_what_single_environments_play(settings: dict[str, Any], mode: AutoresetMode) -> None:
    rng = np.random.default_rng(0)
    count, seed = 5, 11
    envs = SearchQAVectorEnv(count, **settings, autoreset_mode=mode)
    singles = [SearchQAEnv(**settings) for _ in range(count)]
    observations, infos = envs.reset(seed=seed)
    expected = [env.reset(seed=seed + index) for index, env in enumerate(singles)]
    assert observations == tuple(observation for observation, _ in expected)
    assert [of_env(infos, index) for index in range(count)] == [info for _, info in expected]
    ended = np.zeros(count, dtype=bool)
    for _ in range(25):
        if mode is AutoresetMode.DISABLED and ended.any():
            observations, infos = envs.reset(options={"reset_mask": ended})
            for index in np.flatnonzero(ended):
                assert (observations[index], of_env(infos, index)) == singles[index].reset()
            assert [bool(flag) for flag in infos["_turn"]] == ended.tolist()
            ended = np.zeros(count, dtype=bool)
        actions = [MESSAGES[index] for index in rng.integers(len(MESSAGES), size=count)]
        observations, rewards, terminations, truncations, infos = envs.step(actions)
        for index, env in enumerate(singles):
            if mode is AutoresetMode.NEXT_STEP and ended[index]:
                assert (observations[index], of_env(infos, index)) == env.reset()
                assert (rewards[index], terminations[index], truncations[index]) == (0.0, False, False)
                ended[index] = False
                continue
            observation, reward, terminated, truncated, info = env.step(actions[index])
            assert (rewards[index], terminations[index], truncations[index]) == (
                pytest.approx(reward),
                terminated,
                truncated,
            )
            ended[index] = terminated or truncated
            if mode is AutoresetMode.SAME_STEP and ended[index]:
                assert infos["final_obs"][index] == observation
                assert of_env(infos["final_info"], index) == info
                own = {key: value for key, value in of_env(infos, index).items() if "final" not in key}
                assert (observations[index], own) == env.reset()
            else:
                assert (observations[index], of_env(infos, index)) == (observation, info)


def test_one_step_is_one_belief_call_in_every_mode(settings: dict[str, Any], scorer: MentionScorer) -> None:
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        envs = SearchQAVectorEnv(4, **settings, autoreset_mode=mode)
        envs.reset(seed=0)
        scorer.calls.clear()
        for _ in range(6):
            envs.step([MESSAGES[0], MESSAGES[1], MESSAGES[2], MESSAGES[3]])
        assert len(scorer.calls) == 6


def test_a_group_shares_its_questions(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(6, **settings, group_size=3, autoreset_mode="SameStep")
    rng = np.random.default_rng(1)
    _, infos = envs.reset(seed=3)
    seen: list[list[str]] = [[question_id] for question_id in infos["question_id"]]
    for _ in range(60):
        actions = [MESSAGES[index] for index in rng.integers(len(MESSAGES), size=6)]
        _, _, terminations, truncations, infos = envs.step(actions)
        for index in np.flatnonzero(terminations | truncations):
            seen[index].append(infos["question_id"][index])
    for start in (0, 3):
        group = seen[start : start + 3]
        length = min(map(len, group))
        assert length > 5
        assert group[0][:length] == group[1][:length] == group[2][:length]
    assert seen[0][:5] != seen[3][:5]
    # A full reset brings the members of a group together again, one place after the one that was furthest.
    furthest = [max(len(own) for own in seen[start : start + 3]) for start in (0, 3)]
    _, infos = envs.reset()
    streams = [QuestionStream(QUESTIONS, 3 + start) for start in (0, 3)]
    expected = [stream[place].id for stream, place in zip(streams, furthest, strict=True) for _ in range(3)]
    assert list(infos["question_id"]) == expected


def test_a_full_reset_of_lone_environments_goes_on_where_each_was(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(2, **settings, autoreset_mode="SameStep")
    singles = [SearchQAEnv(**settings) for _ in range(2)]
    envs.reset(seed=8)
    for index, env in enumerate(singles):
        env.reset(seed=8 + index)
    envs.step(["<answer>x</answer>", "<search>river</search>"])
    singles[0].reset()
    for options in (None, {"reset_mask": None}):
        ids = [env.reset()[1]["question_id"] for env in singles]
        assert list(envs.reset(options=options)[1]["question_id"]) == ids


def test_a_seeded_reset_takes_whole_groups(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(4, **settings, group_size=2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="whole groups"):
        envs.reset(seed=5, options={"reset_mask": np.array([False, True, True, True])})
    mask = np.array([False, False, True, True])
    ids = envs.reset(seed=5, options={"reset_mask": mask})[1]["question_id"]
    assert ids[2] == ids[3] == QuestionStream(QUESTIONS, 7)[0].id


def test_a_group_has_the_seed_of_its_first_environment(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(4, **settings, group_size=2)
    envs.reset(seed=0)
    envs.reset()
    with pytest.raises(ValueError, match="environment 1 is given a seed, but environment 0"):
        envs.reset(seed=[None, 5, 7, None])
    ids = envs.reset(seed=[None, None, 7, None])[1]["question_id"]
    expected = [QuestionStream(QUESTIONS, 0)[2], QuestionStream(QUESTIONS, 7)[0]]
    assert list(ids) == [question.id for question in expected for _ in range(2)]
    ids = envs.reset()[1]["question_id"]
    expected = [QuestionStream(QUESTIONS, 0)[3], QuestionStream(QUESTIONS, 7)[1]]
    assert list(ids) == [question.id for question in expected for _ in range(2)]


def test_a_transcript_that_grows_too_long_is_followed_by_the_next_episode(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(
        2, **{**settings, "scorer": MentionScorer(longest=2000)}, autoreset_mode="SameStep"
    )
    envs.reset(seed=0)
    long = f"<think>{'hm ' * 900}</think><search>drum</search>"
    observations, _, _, truncations, infos = envs.step([long, "<search>drum</search>"])
    assert truncations.tolist() == [True, False]
    assert "Question:" in observations[0]
    assert infos["turn"].tolist() == [0, 1]
    assert infos["final_info"]["turn"][0] == 1


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_step_whose_scorer_fails_can_be_sent_again(settings: dict[str, Any], call: int) -> None:
    scorer = Flaky(longest=2000)
    envs = SearchQAVectorEnv(3, **{**settings, "scorer": scorer}, autoreset_mode="SameStep")
    twin = SearchQAVectorEnv(
        3, **{**settings, "scorer": MentionScorer(longest=2000)}, autoreset_mode="SameStep"
    )
    for each in (envs, twin):
        each.reset(seed=0)
    # One transcript becomes too long, so a step is three calls: all beliefs, the others', its successor's.
    actions = [
        f"<think>{'hm ' * 900}</think><search>drum</search>",
        "<search>drum</search>",
        "<answer>x</answer>",
    ]
    scorer.fails_at = call
    with pytest.raises(ScoringError, match="blinked"):
        envs.step(actions)
    for messages in (actions, MESSAGES[:3]):
        assert plain(envs.step(messages)) == plain(twin.step(messages))


def test_questions_can_be_chosen_for_each_environment(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(3, **settings)
    _, infos = envs.reset(seed=0, options={"question_id": "q-river"})
    assert list(infos["question_id"]) == ["q-river"] * 3
    drawn = SearchQAVectorEnv(3, **settings).reset(seed=0)[1]["question_id"]
    _, infos = envs.reset(seed=0, options={"question_id": ["q-birth", None, "q-writer"]})
    assert list(infos["question_id"]) == ["q-birth", drawn[1], "q-writer"]
    _, again = envs.reset(options={"question_id": infos["question_id"]})
    assert list(again["question_id"]) == list(infos["question_id"])
    with pytest.raises(TypeError, match=r"max_turns: one for all environments, or a list .*, not 3\.0"):
        envs.reset(options={"max_turns": 3.0})
    with pytest.raises(ValueError, match="2 question ids for 3"):
        envs.reset(options={"question_id": ["q-birth", "q-river"]})
    with pytest.raises(ValueError, match="no question has the id"):
        envs.reset(options={"question_id": "q-7"})


def test_a_masked_reset_leaves_the_others_running(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(3, **settings, autoreset_mode="Disabled")
    envs.reset(seed=0)
    before = envs.step([MESSAGES[0]] * 3)[0]
    observations, infos = envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert (observations[0], observations[2]) == (before[0], before[2])
    assert infos["_turn"].tolist() == [False, True, False]
    assert envs.step([MESSAGES[0]] * 3)[4]["turn"].tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        ([True, False, True], TypeError),
        (np.array([1, 0, 1]), TypeError),
        (np.array([True, False]), ValueError),
        (np.zeros(3, dtype=bool), ValueError),
    ],
)
def test_a_wrong_mask_is_refused(settings: dict[str, Any], mask: object, error: type[Exception]) -> None:
    envs = SearchQAVectorEnv(3, **settings)
    envs.reset(seed=0)
    with pytest.raises(error, match="reset_mask"):
        envs.reset(options={"reset_mask": mask})


def test_stepping_at_the_wrong_time_needs_a_reset(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(2, **settings, autoreset_mode="Disabled")
    with pytest.raises(ResetNeeded):
        envs.step(MESSAGES[:2])
    with pytest.raises(ResetNeeded, match="first reset"):
        envs.reset(options={"reset_mask": np.array([True, False])})
    envs.reset(seed=0)
    envs.step(["<answer>x</answer>", "<search>river</search>"])
    with pytest.raises(ResetNeeded, match=r"\[0\]"):
        envs.step(MESSAGES[:2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"num_envs": 4, "group_size": 3}, "group_size must divide num_envs=4, and 3 does not"),
        ({"render_mode": "human"}, "choose one of: ansi"),
        ({"autoreset_mode": "Never"}, "Never"),
    ],
)
def test_wrong_settings_are_explained(settings: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchQAVectorEnv(**{"num_envs": 2, **settings, **change})


def test_the_wrong_number_of_actions_or_seeds_is_explained(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(2, **settings)
    with pytest.raises(ValueError, match="3 seeds for 2"):
        envs.reset(seed=[1, 2, 3])
    envs.reset(seed=[1, None])
    with pytest.raises(ValueError, match="1 actions for 2"):
        envs.step(["<search>river</search>"])
    with pytest.raises(TypeError, match="not one text"):
        envs.step("ab")
    with pytest.raises(ValueError, match="negative"):
        envs.reset(seed=[1, -1])
    with pytest.raises(ValueError, match="unknown reset option 'mask'"):
        envs.reset(options={"mask": np.array([True, True])})


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_a_seed_may_be_a_number_of_numpy(settings: dict[str, Any], kind: type[np.integer[Any]]) -> None:
    envs = SearchQAVectorEnv(2, **settings)
    expected, _ = envs.reset(seed=3)
    for seed in (kind(3), [kind(3), kind(4)], np.array([3, 4], kind)):
        observations, _ = envs.reset(seed=seed)  # type: ignore[arg-type]
        assert list(observations) == list(expected)


def test_make_vec_reaches_it_and_its_spaces_hold(settings: dict[str, Any]) -> None:
    envs = gym.make_vec("SearchQA-IGPO-v0", num_envs=4, group_size=2, **settings, render_mode="ansi")
    assert isinstance(envs, SearchQAVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observations, _ = envs.reset(seed=0)
    assert observations in envs.observation_space
    observations, rewards, terminations, truncations, _ = envs.step(envs.action_space.sample())
    assert observations in envs.observation_space
    assert rewards.shape == terminations.shape == truncations.shape == (4,)
    assert rewards.dtype == np.float64
    frames = envs.render()
    assert frames is not None
    assert len(frames) == 4
    assert all("Question:" in frame for frame in frames)
    envs.close()


def test_a_failed_reset_changes_nothing(settings: dict[str, Any], scorer: MentionScorer) -> None:
    envs = SearchQAVectorEnv(2, **settings)
    envs.reset(seed=0)
    running = list(envs.episodes)
    with pytest.raises(ValueError, match="no question"):
        envs.reset(options={"question_id": [None, "q-7"]})
    assert envs.episodes == running
    assert envs.step(MESSAGES[:2])[4]["turn"].tolist() == [1, 1]
    with pytest.raises(ValueError, match="no question"):
        envs.reset(seed=50, options={"question_id": "q-7"})
    twin = SearchQAVectorEnv(2, **settings)
    twin.reset(seed=0)
    assert list(envs.reset()[1]["question_id"]) == list(twin.reset()[1]["question_id"])


def test_a_generator_that_is_set_decides_the_questions(settings: dict[str, Any]) -> None:
    single, envs = SearchQAEnv(**settings), SearchQAVectorEnv(2, **settings)
    for env in (single, envs):
        env.np_random = np.random.default_rng(3)
    for _ in range(10):
        assert envs.reset()[1]["question_id"][0] == single.reset()[1]["question_id"]
    assert envs.np_random_seed == single.np_random_seed


def test_gymnasiums_own_vector_forms_accept_the_single_environment(settings: dict[str, Any]) -> None:
    envs = gym.make_vec("SearchQA-IGPO-v0", num_envs=2, vectorization_mode="sync", **settings)
    observations, infos = envs.reset(seed=3)
    ours, our_infos = SearchQAVectorEnv(2, **settings).reset(seed=3)
    assert observations == ours
    assert list(infos["question_id"]) == list(our_infos["question_id"])
