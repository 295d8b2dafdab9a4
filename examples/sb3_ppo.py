"""stable-baselines3: MaskablePPO learns to search and to answer, on a generated world.

    pip install -e '.[sb3]'
    python examples/sb3_ppo.py
    python examples/sb3_ppo.py --reward outcome-f1        # without information gain

Prints exact match on a world whose names it never saw, before and after learning.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common.vec_env import VecMonitor

import igpo_gym  # noqa: F401
from igpo_gym.adapters.stable_baselines3 import MaskableCandidatePolicy, VectorEnvBridge


def environments(questions: str, **settings: Any) -> VecMonitor:
    """Sixteen environments that step together, with one search call a step for all of them."""
    envs = gym.make_vec(
        "SearchQA-IGPO-Discrete-v0",
        num_envs=16,
        autoreset_mode="SameStep",
        questions=questions,
        top_k=1,
        max_turns=5,
        **settings,
    )
    return VecMonitor(VectorEnvBridge(envs))


def exact_match(model: MaskablePPO, envs: VecMonitor, steps: int) -> float:
    """The share of episodes that end with the right answer, over ``steps`` steps of all environments."""
    envs.seed(1)
    observations, scores = envs.reset(), []
    for _ in range(steps):
        actions, _ = model.predict(observations, action_masks=get_action_masks(envs))
        observations, _, dones, infos = envs.step(actions)
        scores += [infos[index]["em"] for index in np.flatnonzero(dones)]
    return float(np.mean(scores))


def main() -> None:
    """Learn, and say how well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reward", default="igpo", help="igpo-gym rewards lists them")
    parser.add_argument("--scorer", default="nano", help="whose belief is the reward")
    parser.add_argument("--steps", type=int, default=12_288, help="of all environments together")
    parser.add_argument("--test-steps", type=int, default=40, help="of each of 16 environments")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    train = environments("world#hops=1-2", reward=options.reward, scorer=options.scorer)
    test = environments("world:validation#hops=1-2", scorer=options.scorer)
    model = MaskablePPO(
        MaskableCandidatePolicy,
        train,
        n_steps=64,
        batch_size=256,
        learning_rate=1e-3,
        gamma=1.0,
        ent_coef=0.01,
        seed=options.seed,
        device="cpu",
    )
    print(f"before: {exact_match(model, test, options.test_steps):.2f} exact match")
    model.learn(options.steps, progress_bar=True)
    print(f"after:  {exact_match(model, test, options.test_steps):.2f} exact match")


if __name__ == "__main__":
    main()
