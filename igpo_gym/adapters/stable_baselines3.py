"""stable-baselines3 and sb3-contrib: the discrete environment as a VecEnv, and policies that suit it.

SB3 needs no adapter for ``gym.make("SearchQA-IGPO-Discrete-v0")`` and its own VecEnvs. What is here makes it
faster: a bridge from the vector environment, whose step is one search call and two calls to the scorer
however many environments there are, and policies that weigh every candidate with the same weights.

Tested with stable-baselines3 2.9.2 and sb3-contrib 2.9.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import DictInfoToList
from torch import Tensor, nn

from igpo_gym.adapters.candidates import CandidateActor, CandidateCritic
from igpo_gym.libraries import needs

with needs("stable-baselines3 with sb3-contrib", "sb3", "sb3_contrib", "stable_baselines3"):
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn


class VectorEnvBridge(VecEnv):
    """A Gymnasium vector environment as SB3's VecEnv: an SB3 step is one step of it.

    What ended comes as SB3 wants it: its ``info`` is the ended episode's, with ``terminal_observation`` and
    ``TimeLimit.truncated``; the next episode's is in ``reset_infos``. ``env_method`` calls a method of the
    vector environment that gives one result an environment, such as ``action_masks``.

    Raises ValueError for an environment whose autoreset mode is not "SameStep", the only one SB3 knows.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        if envs.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise ValueError(
                'SB3 resets in the same step: make the environment with autoreset_mode="SameStep"'
            )
        self.envs = envs
        self._listing = DictInfoToList(envs)
        self._actions: npt.NDArray[Any] | None = None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> npt.NDArray[Any]:
        """Begin episodes, with the seeds of the last :meth:`seed`."""
        unseeded = all(seed is None for seed in self._seeds)
        options = {key: [own.get(key) for own in self._options] for own in self._options for key in own}
        observations, infos = self._listing.reset(
            seed=None if unseeded else self._seeds,
            options=options or None,
        )
        self.reset_infos = infos
        self._reset_seeds()
        self._reset_options()
        return np.asarray(observations)

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step, and put what ended where SB3 looks for it."""
        assert self._actions is not None, "step_async comes first"
        observations, rewards, terminations, truncations, infos = self._listing.step(self._actions)
        dones = terminations | truncations
        for index, info in enumerate(infos):
            if dones[index]:
                self.reset_infos[index] = info
                infos[index] = info.pop("final_info") | {"terminal_observation": info.pop("final_obs")}
            infos[index]["TimeLimit.truncated"] = bool(truncations[index] and not terminations[index])
        return np.asarray(observations), rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the vector environment, once an environment."""
        return [getattr(self.envs.unwrapped, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the vector environment. Raises ValueError for a part of its environments."""
        if indices is not None:
            raise ValueError("the environments of one vector environment share their attributes: no indices")
        setattr(self.envs.unwrapped, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the vector environment; its results for the environments asked for."""
        results = getattr(self.envs.unwrapped, method_name)(*method_args, **method_kwargs)
        chosen: Iterable[int] = self._get_indices(indices)
        return [results[index] for index in chosen]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """False: the environments have no wrappers of their own."""
        return [False for _ in self._get_indices(indices)]


class _CandidateExtractor(nn.Module):
    """Where SB3's policies have two towers of dense layers: the actor gives the logits themselves."""

    def __init__(self, actions: int, width: int) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = actions, width
        self.forward_actor, self.forward_critic = CandidateActor(width), CandidateCritic(width)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(features), self.forward_critic(features)


class _WeighsCandidates:
    """Puts the candidate networks into one of SB3's actor-critic policies."""

    def _build_mlp_extractor(self: Any) -> None:
        self.mlp_extractor = _CandidateExtractor(int(self.action_space.n), width=64)

    def _build(self: Any, lr_schedule: Any) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        self.action_net = nn.Identity()  # the actor gives the logits already
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


class CandidatePolicy(_WeighsCandidates, ActorCriticPolicy):
    """The policy for SB3's PPO and A2C: ``PPO(CandidatePolicy, envs)``."""


class MaskableCandidatePolicy(_WeighsCandidates, MaskableActorCriticPolicy):
    """The policy for sb3-contrib's MaskablePPO: ``MaskablePPO(MaskableCandidatePolicy, envs)``."""
