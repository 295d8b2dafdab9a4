"""The same question, actions and seed give the same episode through every adapter as through Gymnasium."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from igpo_gym.envs.discrete import SearchQADiscreteVectorEnv
from tests.adapters.parity import DISCRETE, SCRIPTS, SETTINGS, TEXT, Action, Step, assert_same, play

Player = Callable[[str, int, Sequence[Action]], list[Step]]


def vector(env_id: str, seed: int, actions: Sequence[Action]) -> list[Step]:
    """Our own vector environment, with a neighbor that does something else."""
    envs = gym.make_vec(env_id, num_envs=2, autoreset_mode="Disabled", **SETTINGS)
    trace = [Step(envs.reset(seed=seed)[0][0])]
    for action in actions:
        observations, rewards, terminations, truncations, _ = envs.step([action, type(action)()])
        trace.append(Step(observations[0], rewards[0], terminations[0], truncations[0]))
    return trace


def sb3_own(env_id: str, seed: int, actions: Sequence[Action]) -> list[Step]:
    """stable-baselines3's own DummyVecEnv around gymnasium.make."""
    pytest.importorskip("stable_baselines3", reason="needs the extra sb3")
    from stable_baselines3.common.vec_env import DummyVecEnv

    return _through_sb3(DummyVecEnv([lambda: gym.make(env_id, **SETTINGS)]), seed, actions)


def sb3_bridge(env_id: str, seed: int, actions: Sequence[Action]) -> list[Step]:
    """Our vector environment as stable-baselines3's VecEnv."""
    pytest.importorskip("sb3_contrib", reason="needs the extra sb3")
    from igpo_gym.adapters.stable_baselines3 import VectorEnvBridge

    envs = gym.make_vec(env_id, num_envs=2, autoreset_mode="SameStep", **SETTINGS)
    return _through_sb3(VectorEnvBridge(envs), seed, actions)


def _through_sb3(venv: Any, seed: int, actions: Sequence[Action]) -> list[Step]:
    venv.seed(seed)
    trace = [Step(venv.reset()[0])]
    for action in actions:
        observations, rewards, dones, infos = venv.step(np.array([action] + [0] * (venv.num_envs - 1)))
        truncated = infos[0]["TimeLimit.truncated"]
        observation = infos[0]["terminal_observation"] if dones[0] else observations[0]
        trace.append(Step(observation, rewards[0], dones[0] and not truncated, truncated))
    return trace


def torchrl(env_id: str, seed: int, actions: Sequence[Action]) -> list[Step]:
    """A TorchRL environment around gymnasium.make."""
    pytest.importorskip("torchrl", reason="needs the extra torchrl")
    from igpo_gym.adapters.torchrl import torchrl_env

    return _through_torchrl(torchrl_env(gym.make(env_id, **SETTINGS)), seed, actions, lambda value: value)


def torchrl_vector(env_id: str, seed: int, actions: Sequence[Action]) -> list[Step]:
    """A TorchRL environment around our vector environment."""
    pytest.importorskip("torchrl", reason="needs the extra torchrl")
    from igpo_gym.adapters.torchrl import torchrl_env

    envs = torchrl_env(gym.make_vec(env_id, num_envs=2, autoreset_mode="Disabled", **SETTINGS))
    return _through_torchrl(envs, seed, actions, lambda value: value[0])


def _through_torchrl(
    env: Any, seed: int, actions: Sequence[Action], first: Callable[[Any], Any]
) -> list[Step]:
    import torch

    def observed(data: Any) -> Any:
        value = first(data["observation"])
        return value if isinstance(value, str) else value.numpy()

    env.set_seed(seed, static_seed=True)
    data = env.reset(seed=seed)
    trace = [Step(observed(data))]
    for action in actions:
        data["action"] = action if isinstance(action, str) else torch.full(env.batch_size, action)
        data = env.step(data)["next"]
        ends = [bool(first(data[key])) for key in ("terminated", "truncated")]
        trace.append(Step(observed(data), float(first(data["reward"])), *ends))
    return trace


def rllib(env_id: str, seed: int, actions: Sequence[Action]) -> list[Step]:
    """Our vector environment, as an RLlib env runner makes it."""
    pytest.importorskip("ray.rllib", reason="needs the extra rllib, in an environment of its own")
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

    config = (
        PPOConfig()
        .environment(f"igpo_gym:{env_id}", env_config=SETTINGS)
        .env_runners(num_envs_per_env_runner=2, gym_env_vectorize_mode="vector_entry_point")
    )
    envs = SingleAgentEnvRunner(config=config).env
    assert isinstance(envs.unwrapped, SearchQADiscreteVectorEnv)
    trace = [Step(envs.reset(seed=seed)[0][0])]
    for action in actions:
        observations, rewards, terminations, truncations, _ = envs.step(np.array([action, 0]))
        trace.append(Step(observations[0], rewards[0], terminations[0], truncations[0]))
    return trace


PLAYERS: dict[str, tuple[Player, tuple[str, ...]]] = {
    "vector": (vector, (TEXT, DISCRETE)),
    "sb3-own": (sb3_own, (DISCRETE,)),
    "sb3-bridge": (sb3_bridge, (DISCRETE,)),
    "torchrl": (torchrl, (TEXT, DISCRETE)),
    "torchrl-vector": (torchrl_vector, (DISCRETE,)),
    "rllib": (rllib, (DISCRETE,)),
}
"""By name: a player, and the environments that its library can play."""

CASES = [
    pytest.param(player, *SCRIPTS[script], id=f"{name}: {script}")
    for name, (player, environments) in PLAYERS.items()
    for script in SCRIPTS
    if SCRIPTS[script][0] in environments
]


@pytest.mark.parametrize(("player", "env_id", "actions"), CASES)
def test_an_adapter_plays_what_gymnasium_plays(
    player: Player, env_id: str, actions: tuple[Action, ...]
) -> None:
    for seed in (3, 4):
        assert_same(player(env_id, seed, actions), play(env_id, seed, actions))
