"""TRL: two ways into ``GRPOTrainer``, each with an advantage of its own for every turn.

As a rollout function, in any of the text protocols::

    trainer = TurnGRPOTrainer(
        model="Qwen/Qwen3-4B",
        args=GRPOConfig(generation_kwargs={"max_tokens": 256}),
        train_dataset=dataset(questions="hotpotqa:train.json"),
        rollout_func=Rollouts(questions="hotpotqa:train.json", scorer="policy"),
        reward_funcs=episode_reward,
        advantages="igpo-separate",
    )

As tools, with TRL's own tool calls::

    trainer = TurnGRPOTrainer(
        model="Qwen/Qwen3-4B",
        args=GRPOConfig(max_tool_calling_iterations=6),
        train_dataset=dataset(protocol=NATIVE, questions="hotpotqa:train.json"),
        environment_factory=environment_factory(questions="hotpotqa:train.json", scorer="policy"),
    )

``scorer="policy"`` is the model in training, with the weights that played. Any other scorer is a frozen one.
"""

from __future__ import annotations

from igpo_gym.libraries import needs

with needs("igpo_gym.adapters.trl", "trl", "accelerate", "datasets", "trl"):
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import trl  # noqa: F401

from igpo_gym.adapters.trl.environments import Environments, environment_factory
from igpo_gym.adapters.trl.policy import PolicyScorer
from igpo_gym.adapters.trl.recipes import Published, published
from igpo_gym.adapters.trl.rollouts import Rollouts
from igpo_gym.adapters.trl.rows import dataset, episode_reward
from igpo_gym.adapters.trl.trainer import TurnGRPOTrainer

__all__ = [
    "Environments",
    "PolicyScorer",
    "Published",
    "Rollouts",
    "TurnGRPOTrainer",
    "dataset",
    "environment_factory",
    "episode_reward",
    "published",
]
