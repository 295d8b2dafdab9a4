"""TorchRL: the environments as its own, texts as non-tensor data, action masks where it looks for them.

Tested with torchrl 0.14.1.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from gymnasium.vector import VectorEnv

from igpo_gym.envs.spaces import UnicodeText
from igpo_gym.libraries import needs

with needs("TorchRL", "torchrl", "torchrl"):
    from torchrl.data import Binary, NonTensor
    from torchrl.envs import (
        ActionMask,
        Compose,
        DTypeCastTransform,
        EnvBase,
        GymWrapper,
        TransformedEnv,
        default_info_dict_reader,
    )
    from torchrl.envs.libs.gym import register_gym_spec_conversion


@register_gym_spec_conversion(UnicodeText)
def _text_spec(spec: UnicodeText, device: torch.device | None = None, **_: Any) -> NonTensor:
    return NonTensor((), device=device, example_data="a text")


def torchrl_env(env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> EnvBase:
    """A text or a discrete environment, or the vector form of the latter, as a TorchRL environment.

    Texts are ``NonTensorData`` under "observation" and "action". A discrete environment has integer actions
    and its mask under "action_mask", which random actions and ``MaskedCategorical`` policies keep to. Make a
    vector environment with ``autoreset_mode="Disabled"``: TorchRL resets what has ended itself.
    """
    wrapped = GymWrapper(env, categorical_action_encoding=True)
    actions = env.single_action_space if isinstance(env, VectorEnv) else env.action_space
    if not isinstance(actions, gym.spaces.Discrete):
        return wrapped
    mask = Binary(int(actions.n), shape=(*wrapped.batch_size, int(actions.n)), dtype=torch.int8)
    wrapped.set_info_dict_reader(default_info_dict_reader(["action_mask"], spec=[mask]))
    as_bool = DTypeCastTransform(torch.int8, torch.bool, in_keys=["action_mask"])
    return TransformedEnv(wrapped, Compose(as_bool, ActionMask()))
