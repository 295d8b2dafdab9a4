"""Does information gain teach an agent without language? PPO and MaskablePPO on the discrete environment.

Each algorithm learns with each reward for the same number of steps, from the same seeds, and then answers
questions of a world whose names it never saw. Prints JSON: exact match by seed, its mean with a 95% interval
over the seeds (Student's t), ``ratio`` against an agent that draws among the actions the mask allows, and the
difference that the first reward makes against each other one, seed by seed. Each run is told on stderr.

    pip install -e '.[dev,sb3]'
    python benchmarks/discrete.py
    python benchmarks/discrete.py --algorithms maskable --rewards igpo outcome-f1 --seeds 8 --steps 50000
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

import igpo_gym  # noqa: F401
from igpo_gym.adapters.stable_baselines3 import CandidatePolicy, MaskableCandidatePolicy, VectorEnvBridge
from igpo_gym.episode import Belief
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest
from igpo_gym.statistics import over_seeds as estimated
from igpo_gym.statistics import p_value

ALGORITHMS: dict[str, tuple[type[Any], type[Any]]] = {
    "ppo": (PPO, CandidatePolicy),
    "maskable": (MaskablePPO, MaskableCandidatePolicy),
}
ENVS = 16
PPO_SETTINGS = {
    "n_steps": 64,
    "batch_size": 256,
    "n_epochs": 10,
    "learning_rate": 1e-3,
    "gamma": 1.0,
    "ent_coef": 0.01,
}

Act = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Remembering:
    """A frozen scorer whose answers are kept: runs over the same few questions ask much the same."""

    def __init__(self, scorer: AnswerScorer) -> None:
        self._scorer = scorer
        self._known: dict[bytes, Belief] = {}

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        keys = [
            hashlib.blake2b(repr(([s.text for s in one.segments], one.answers)).encode()).digest()
            for one in requests
        ]
        new = {key: one for key, one in zip(keys, requests, strict=True) if key not in self._known}
        if new:
            self._known.update(zip(new, self._scorer.score(list(new.values())), strict=True))
        return [self._known[key] for key in keys]


def environments(questions: str, reward: str, scorer: AnswerScorer) -> VectorEnvBridge:
    return VectorEnvBridge(
        gym.make_vec(
            "SearchQA-IGPO-Discrete-v0",
            num_envs=ENVS,
            autoreset_mode="SameStep",
            questions=questions,
            reward=reward,
            scorer=scorer,
            slots=10,
            top_k=1,
            max_turns=5,
        )
    )


def exact_match(act: Act, envs: VectorEnvBridge, episodes: int) -> float:
    """The share of right answers over the next ``episodes`` that each environment's seed gives."""
    envs.seed(10_000)
    observations = envs.reset()
    quota = np.full(ENVS, -(-episodes // ENVS))  # the same number each, or short episodes would count more
    scores: list[float] = []
    while quota.any():
        masks = np.stack(envs.env_method("action_masks"))
        observations, _, dones, infos = envs.step(act(observations, masks))
        for index in np.flatnonzero(dones & (quota > 0)):
            scores.append(infos[index]["em"])
            quota[index] -= 1
    return statistics.mean(scores)


def at_random(seed: int) -> Act:
    rng = np.random.default_rng(seed)
    return lambda _, masks: np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])


def learned(algorithm: str, policy: str, envs: VectorEnvBridge, steps: int, seed: int) -> Act:
    learner, own_policy = ALGORITHMS[algorithm]
    envs.seed(seed)
    chosen = own_policy if policy == "candidates" else "MlpPolicy"
    model = learner(chosen, VecMonitor(envs), seed=seed, device="cpu", **PPO_SETTINGS).learn(steps)
    if algorithm == "maskable":
        return lambda seen, masks: model.predict(seen, action_masks=masks, deterministic=True)[0]
    return lambda seen, _: model.predict(seen, deterministic=True)[0]


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """The mean, its 95% interval by Student's t, and the p-value of its being 0; nan below five seeds."""
    found = estimated(values)
    return {
        "by_seed": list(values),
        "mean": found.value,
        "interval": [found.low, found.high],
        "p": p_value(found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=ALGORITHMS)
    parser.add_argument("--rewards", nargs="+", default=["igpo", "outcome-f1"])
    parser.add_argument("--policy", default="candidates", choices=["candidates", "mlp"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12_288, help="of all environments together")
    parser.add_argument("--questions", default="world#hops=1-2,questions=100")
    parser.add_argument("--test-questions", default="world:validation#hops=1-2,questions=300")
    parser.add_argument("--episodes", type=int, default=320, help="to test on")
    parser.add_argument("--scorer", default="nano")
    options = parser.parse_args()
    torch.set_num_threads(1)
    loaded = resolve_scorer(options.scorer)
    assert loaded is not None, "the agent sees the scorer's probabilities: --scorer none is no setting"
    scorer = Remembering(loaded)
    test = environments(options.test_questions, "igpo", scorer)
    chance = [exact_match(at_random(seed), test, options.episodes) for seed in range(options.seeds)]
    results: dict[str, Any] = {**vars(options), "random": over_seeds(chance)}
    for algorithm in options.algorithms:
        scores: dict[str, list[float]] = {reward: [] for reward in options.rewards}
        for seed, reward in itertools.product(range(options.seeds), options.rewards):
            began = time.process_time()
            envs = environments(options.questions, reward, scorer)
            act = learned(algorithm, options.policy, envs, options.steps, seed)
            scores[reward].append(exact_match(act, test, options.episodes))
            seconds = time.process_time() - began
            print(
                f"{algorithm} {reward} seed {seed}: {scores[reward][-1]:.3f} ({seconds:.0f} CPU s)",
                file=sys.stderr,
            )
        first, *others = options.rewards
        results[algorithm] = {
            reward: {
                **over_seeds(scores[reward]),
                "ratio": statistics.mean(scores[reward]) / statistics.mean(chance),
            }
            for reward in options.rewards
        } | {
            f"{first} minus {other}": over_seeds(
                [a - b for a, b in zip(scores[first], scores[other], strict=True)]
            )
            for other in others
        }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
