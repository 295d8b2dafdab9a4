"""RLlib: PPO on the discrete environment, sixteen episodes a step through our own vector environment.

RLlib needs no adapter, but an environment of its own (it asks for Gymnasium 1.2.2):

    python -m venv rllib && rllib/bin/pip install -e '.[rllib]'
    rllib/bin/python examples/rllib_ppo.py
"""

from __future__ import annotations

import argparse

from ray.rllib.algorithms.ppo import PPOConfig

ENVS = 16


def main() -> None:
    """Learn, and print the mean return of each iteration's episodes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reward", default="igpo", help="igpo-gym rewards lists them")
    parser.add_argument("--scorer", default="nano", help="whose belief is the reward")
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--batch", type=int, default=1024, help="turns an iteration")
    parser.add_argument("--runners", type=int, default=0, help="processes that play; 0 plays in this one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = (
        PPOConfig()
        .environment(
            "igpo_gym:SearchQA-IGPO-Discrete-v0",  # the module first: each process registers the environment
            env_config={
                "questions": "world#hops=1-2",
                "reward": options.reward,
                "scorer": options.scorer,
                "top_k": 1,
                "max_turns": 5,
            },
        )
        .env_runners(
            num_env_runners=options.runners,
            num_envs_per_env_runner=ENVS,
            gym_env_vectorize_mode="vector_entry_point",
        )
        .training(
            train_batch_size_per_learner=options.batch,
            minibatch_size=256,
            num_epochs=10,
            lr=1e-3,
            gamma=1.0,
            entropy_coeff=0.01,
        )
        .debugging(seed=options.seed)
    )
    algorithm = config.build_algo()
    try:
        for number in range(1, options.iterations + 1):
            played = algorithm.train()["env_runners"]
            print(
                f"iteration {number:2}: return {played['episode_return_mean']:.2f}, "
                f"turns {played['episode_len_mean']:.1f}",
                flush=True,
            )
    finally:
        algorithm.stop()


if __name__ == "__main__":
    main()
