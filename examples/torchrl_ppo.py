"""TorchRL: a collector fills batches from the vector environment, PPO learns from them; and a text rollout.

pip install -e '.[torchrl]'
python examples/torchrl_ppo.py
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.modules import MaskedCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import igpo_gym  # noqa: F401
from igpo_gym.adapters.candidates import CandidateActor, CandidateCritic
from igpo_gym.adapters.torchrl import torchrl_env

ENVS, FRAMES, EPOCHS, MINIBATCH = 16, 1024, 10, 256


def text_rollout(scorer: str) -> None:
    """Play an episode in text: observations and actions are strings."""

    def policy(observation: str) -> str:
        return "<search>river</search>" if "Question:" in observation else "<answer>unknown</answer>"

    played = torchrl_env(gym.make("SearchQA-IGPO-v0", scorer=scorer)).rollout(6, policy)
    print("in text:", list(played["action"]), "rewards", played["next", "reward"].flatten().tolist())


def main() -> None:
    """Learn, and print the mean reward of each batch's turns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reward", default="igpo", help="igpo-gym rewards lists them")
    parser.add_argument("--scorer", default="nano", help="whose belief is the reward")
    parser.add_argument("--batches", type=int, default=12, help=f"of {FRAMES} turns each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    text_rollout(options.scorer)

    env = torchrl_env(
        gym.make_vec(
            "SearchQA-IGPO-Discrete-v0",
            num_envs=ENVS,
            autoreset_mode="Disabled",
            questions="world#hops=1-2",
            reward=options.reward,
            scorer=options.scorer,
            top_k=1,
            max_turns=5,
        )
    )
    env.set_seed(options.seed)
    actor = ProbabilisticActor(
        TensorDictModule(CandidateActor(), in_keys=["observation"], out_keys=["logits"]),
        in_keys={"logits": "logits", "mask": "action_mask"},
        distribution_class=MaskedCategorical,
        return_log_prob=True,
    )
    critic = ValueOperator(nn.Sequential(CandidateCritic(), nn.Linear(64, 1)), in_keys=["observation"])
    advantage = GAE(gamma=1.0, lmbda=0.95, value_network=critic)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01, normalize_advantage=True)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    collector = Collector(
        env,
        actor,
        frames_per_batch=FRAMES,
        total_frames=options.batches * FRAMES,
        auto_register_policy_transforms=True,
    )
    for number, batch in enumerate(collector, 1):
        with torch.no_grad():
            advantage(batch)
        rows = batch.reshape(-1)
        for _ in range(EPOCHS):
            for drawn in torch.randperm(len(rows)).split(MINIBATCH):
                losses = loss(rows[drawn])
                optimizer.zero_grad()
                sum(value for key, value in losses.items() if key.startswith("loss_")).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimizer.step()
        print(f"batch {number:2}: reward a turn {batch['next', 'reward'].mean():.3f}", flush=True)
    collector.shutdown()


if __name__ == "__main__":
    main()
