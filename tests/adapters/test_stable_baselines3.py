from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import igpo_gym  # noqa: F401
from tests.adapters.parity import DISCRETE, SETTINGS
from tests.conftest import MentionScorer

pytest.importorskip("sb3_contrib", reason="needs the extra sb3")

from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecMonitor

from igpo_gym.adapters.stable_baselines3 import CandidatePolicy, MaskableCandidatePolicy, VectorEnvBridge

SHORT: dict[str, Any] = {"n_steps": 8, "batch_size": 16, "n_epochs": 2, "seed": 0, "device": "cpu"}


def bridge(count: int = 3, **changes: Any) -> VectorEnvBridge:
    settings = {"autoreset_mode": "SameStep", **SETTINGS, **changes}
    return VectorEnvBridge(gym.make_vec(DISCRETE, num_envs=count, **settings))


def test_it_passes_the_check_of_stable_baselines3() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(DISCRETE, **SETTINGS))


def test_the_bridge_needs_a_reset_in_the_same_step() -> None:
    with pytest.raises(ValueError, match='autoreset_mode="SameStep"'):
        bridge(autoreset_mode="NextStep")


def test_what_ended_and_what_begins_are_where_sb3_looks() -> None:
    envs, single = bridge(2), gym.make(DISCRETE, **SETTINGS)
    envs.seed(3)
    envs.reset()
    single.reset(seed=3)
    answer = 17
    observations, rewards, dones, infos = envs.step(np.array([answer, 1]))
    final, reward, *_, final_info = single.step(answer)
    first, first_info = single.reset()
    assert dones.tolist() == [True, False]
    assert rewards.dtype == np.float32
    assert rewards[0] == pytest.approx(reward)
    np.testing.assert_array_equal(infos[0]["terminal_observation"], final)
    assert {key: infos[0][key] for key in ("em", "prediction", "question_id")} == {
        key: final_info[key] for key in ("em", "prediction", "question_id")
    }
    assert infos[0]["TimeLimit.truncated"] is False
    np.testing.assert_array_equal(observations[0], first)
    assert envs.reset_infos[0]["question_id"] == first_info["question_id"]
    assert "terminal_observation" not in infos[1]


def test_running_out_of_turns_is_a_time_limit() -> None:
    envs = bridge(1, max_turns=1)
    envs.reset()
    _, _, dones, infos = envs.step(np.array([0]))
    assert dones.all()
    assert infos[0]["TimeLimit.truncated"] is True


def test_masks_reach_maskable_ppo() -> None:
    envs = bridge()
    envs.reset()
    assert is_masking_supported(envs)
    masks = get_action_masks(envs)
    assert masks.shape == (3, 33)
    assert masks.any(axis=1).all()
    np.testing.assert_array_equal(envs.env_method("action_masks", indices=[1])[0], masks[1])


def test_seeds_and_options_reach_the_environments() -> None:
    envs = bridge(2)
    envs.set_options([{"question_id": "q-river"}, {"question_id": "q-writer"}])
    envs.reset()
    assert [info["question_id"] for info in envs.reset_infos] == ["q-river", "q-writer"]
    drawn = []
    for _ in range(2):
        envs.seed(5)
        envs.reset()
        drawn.append([info["question_id"] for info in envs.reset_infos])
    assert drawn[0] == drawn[1]


def test_attributes_belong_to_all_environments() -> None:
    envs = bridge(2)
    assert envs.get_attr("num_envs") == [2, 2]
    assert envs.env_is_wrapped(gym.Wrapper) == [False, False]
    with pytest.raises(ValueError, match="share their attributes"):
        envs.set_attr("render_mode", None, indices=0)
    envs.set_attr("mark", 7)
    assert envs.get_attr("mark", indices=0) == [7]
    assert not envs.has_attr("no_such_thing")


@pytest.mark.parametrize(
    ("learner", "policy"), [(PPO, CandidatePolicy), (MaskablePPO, MaskableCandidatePolicy)]
)
def test_a_model_is_saved_and_loaded(learner: Any, policy: Any, tmp_path: Path) -> None:
    envs = bridge(2)
    model = learner(policy, envs, **SHORT).learn(16)
    model.save(tmp_path / "model")
    again = learner.load(tmp_path / "model", device="cpu")
    seen = envs.reset()
    np.testing.assert_array_equal(
        model.predict(seen, deterministic=True)[0], again.predict(seen, deterministic=True)[0]
    )


@pytest.mark.parametrize(("learner", "policy"), [(PPO, "MlpPolicy"), (MaskablePPO, MaskableCandidatePolicy)])
def test_sb3_s_own_vec_envs_do_too(learner: Any, policy: Any) -> None:
    envs = make_vec_env(DISCRETE, n_envs=2, seed=0, env_kwargs=SETTINGS)
    model = learner(policy, envs, **SHORT).learn(32)
    assert model.num_timesteps == 32
    assert model.ep_info_buffer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "policy"), [(PPO, CandidatePolicy), (MaskablePPO, MaskableCandidatePolicy)]
)
def test_it_learns_to_search_and_answer(learner: Any, policy: Any) -> None:
    """With beliefs that count mentions, so that it says nothing of the packaged model."""

    def world(split: str) -> VectorEnvBridge:
        return bridge(
            16,
            questions=f"world:{split}#hops=1,questions=100",
            search=None,
            scorer=MentionScorer(),
            top_k=1,
            max_turns=3,
            slots=8,
        )

    def exact_match(act: Callable[[Any, Any], Any]) -> float:
        envs, scores = world("validation"), []
        envs.seed(1)
        seen = envs.reset()
        for _ in range(40):
            seen, _, dones, infos = envs.step(act(seen, get_action_masks(envs)))
            scores += [infos[index]["em"] for index in np.flatnonzero(dones)]
        return float(np.mean(scores))

    rng = np.random.default_rng(0)
    chance = exact_match(lambda _, masks: np.array([rng.choice(np.flatnonzero(mask)) for mask in masks]))
    settings = {"n_steps": 64, "batch_size": 256, "learning_rate": 1e-3, "gamma": 1.0, "ent_coef": 0.01}
    model = learner(policy, VecMonitor(world("train")), **settings, seed=0, device="cpu").learn(8192)
    masked = learner is MaskablePPO
    learned = exact_match(
        lambda seen, masks: model.predict(seen, **({"action_masks": masks} if masked else {}))[0]
    )
    assert learned > chance + 0.2


def test_an_environment_by_its_name_alone() -> None:
    """SB3 then makes it with render_mode="rgb_array"."""
    model = PPO("MlpPolicy", DISCRETE, **SHORT).learn(16)
    assert model.num_timesteps >= 16
    frame = model.get_env().render("rgb_array")
    assert frame.ndim == 3
