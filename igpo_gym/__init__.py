"""Search question answering as Gymnasium environments whose step pays information gain.

Importing the package registers the environments:

- ``SearchQA-IGPO-v0`` pays each turn how much it raised a language model's probability of the gold answer,
  and F1 on the last turn;
- ``SearchQA-Outcome-v0`` pays F1 on the last turn alone, and needs no model;
- ``SearchQA-v0`` pays the ``reward`` that you name;
- ``SearchQA-IGPO-Discrete-v0`` is the first with numbered actions and observations of a fixed size, for
  agents without language: see :class:`igpo_gym.envs.discrete.SearchQADiscreteEnv`.

All take the arguments of :class:`igpo_gym.envs.SearchQAEnv`, and ``gymnasium.make_vec`` reaches the batched
form, :class:`igpo_gym.envs.SearchQAVectorEnv`.
"""

from typing import Any

import gymnasium

__version__ = "0.1.0"

ROOMS = (
    "igpo_gym.data",
    "igpo_gym.search",
    "igpo_gym.tools",
    "igpo_gym.protocols",
    "igpo_gym.scorers",
    "igpo_gym.rewards",
    "igpo_gym.agents.policies",
    "igpo_gym.agents.training.estimators",
)
"""The modules that register what specs of this package can name, see :mod:`igpo_gym.specs`."""

_ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "SearchQA-v0": {},
    "SearchQA-IGPO-v0": {"reward": "igpo"},
    "SearchQA-Outcome-v0": {"reward": "outcome-f1", "scorer": None},
}

for _name, _defaults in _ENVIRONMENTS.items():
    gymnasium.register(
        id=_name,
        entry_point="igpo_gym.envs.single:SearchQAEnv",
        vector_entry_point="igpo_gym.envs.vector:SearchQAVectorEnv",
        kwargs=_defaults,
    )

gymnasium.register(
    id="SearchQA-IGPO-Discrete-v0",
    entry_point="igpo_gym.envs.discrete:SearchQADiscreteEnv",
    vector_entry_point="igpo_gym.envs.discrete:SearchQADiscreteVectorEnv",
    kwargs={"reward": "igpo"},
)
