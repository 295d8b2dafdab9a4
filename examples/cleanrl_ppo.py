"""PPO in one file, in the manner of CleanRL, over the vector environment itself: no library, no adapter.

    python examples/cleanrl_ppo.py
    python examples/cleanrl_ppo.py --reward outcome-f1    # without information gain

It shows what a loop of one's own needs: ``gym.make_vec``, the action mask in ``infos``, and what to do with
an episode that ended ("SameStep": the next observation is already the next episode's).
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import igpo_gym  # noqa: F401
from igpo_gym.adapters.candidates import CandidateActor, CandidateCritic

ENVS, STEPS, EPOCHS, MINIBATCH = 16, 64, 10, 256
LEARNING_RATE, GAMMA, LAMBDA = 1e-3, 1.0, 0.95
CLIP, ENTROPY, VALUE, GRADIENT_NORM = 0.2, 0.01, 0.5, 0.5


def masked(actor: nn.Module, observations: Tensor, masks: Tensor) -> Categorical:
    """The policy, which gives no probability to what the mask forbids."""
    return Categorical(logits=actor(observations).masked_fill(~masks, -1e9))


def main() -> None:
    """Learn, and print the exact match of each update's episodes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reward", default="igpo", help="igpo-gym rewards lists them")
    parser.add_argument("--scorer", default="nano", help="whose belief is the reward")
    parser.add_argument("--updates", type=int, default=12, help=f"of {ENVS} x {STEPS} steps each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    envs = gym.make_vec(
        "SearchQA-IGPO-Discrete-v0",
        num_envs=ENVS,
        autoreset_mode="SameStep",
        questions="world#hops=1-2",
        reward=options.reward,
        scorer=options.scorer,
        top_k=1,
        max_turns=5,
    )
    actor, critic = CandidateActor(), nn.Sequential(CandidateCritic(), nn.Linear(64, 1), nn.Flatten(0))
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, eps=1e-5)

    shape = (STEPS, ENVS)
    seen = torch.zeros(*shape, *envs.single_observation_space.shape)
    masks = torch.zeros(*shape, envs.single_action_space.n, dtype=torch.bool)
    actions = torch.zeros(shape, dtype=torch.long)
    log_probs, rewards, values = (torch.zeros(shape) for _ in range(3))
    ends = torch.zeros(shape, dtype=torch.bool)

    observations, infos = envs.reset(seed=options.seed)
    for update in range(1, options.updates + 1):
        scores: list[float] = []
        for step in range(STEPS):
            seen[step] = torch.as_tensor(observations)
            masks[step] = torch.as_tensor(infos["action_mask"] == 1)
            with torch.no_grad():
                policy = masked(actor, seen[step], masks[step])
                actions[step] = policy.sample()
                log_probs[step], values[step] = policy.log_prob(actions[step]), critic(seen[step])
            observations, paid, terminations, truncations, infos = envs.step(actions[step].numpy())
            # How many turns are left is part of the observation, so that running out of them is an end too.
            ended = terminations | truncations
            rewards[step], ends[step] = torch.as_tensor(paid), torch.as_tensor(ended)
            if ended.any():
                scores += list(infos["final_info"]["em"][ended])

        # Generalized advantage estimation (1506.02438): A_t = delta_t + gamma * lambda * A_{t+1}.
        advantages, later = torch.zeros(shape), torch.zeros(ENVS)
        with torch.no_grad():
            after = critic(torch.as_tensor(observations))
        for step in reversed(range(STEPS)):
            goes_on = (~ends[step]).float()
            delta = rewards[step] + GAMMA * goes_on * after - values[step]
            advantages[step] = later = delta + GAMMA * LAMBDA * goes_on * later
            after = values[step]

        batch = (seen, masks, actions, log_probs, advantages, advantages + values)
        for _ in range(EPOCHS):
            for drawn in torch.randperm(STEPS * ENVS).split(MINIBATCH):
                own_seen, own_masks, own_actions, old, gain, target = (x.flatten(0, 1)[drawn] for x in batch)
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                policy = masked(actor, own_seen, own_masks)
                ratio = (policy.log_prob(own_actions) - old).exp()
                policy_loss = -torch.min(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
                value_loss = (critic(own_seen) - target).square().mean()
                loss = policy_loss + VALUE * value_loss - ENTROPY * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
                optimizer.step()
        print(
            f"update {update:2}: exact match {np.mean(scores):.2f}, reward a turn {rewards.mean():.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
