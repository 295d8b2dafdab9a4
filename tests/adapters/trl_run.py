"""A short training with TRL whose scorer is the model in training; run by several processes, as a program."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from trl import GRPOConfig

from igpo_gym.adapters.trl import Rollouts, TurnGRPOTrainer, dataset, episode_reward
from igpo_gym.agents.training.estimators import Split, Turns, resolve_estimator
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.loading import load_model
from igpo_gym.protocols import TAGS
from igpo_gym.rewards.belief_requests import trajectory_requests
from tests.lm.tiny import naive_belief

WORLD: dict[str, Any] = {"questions": "world#documents=60,questions=20", "protocol": TAGS, "max_turns": 3}


class Watched(TurnGRPOTrainer):
    """Compares beliefs and advantages with what is computed here, from plain forward passes."""

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        output = super()._generate(prompts)
        framing = Framing(self.processing_class)
        own = []
        with torch.no_grad():
            self.model.eval()
            for episode in self.rollout_func.episodes:
                requests = trajectory_requests(episode, TAGS.probe)
                expected = [naive_belief(self.model, framing, request) for request in requests]
                pairs = zip(episode.beliefs, expected, strict=True)
                own += [
                    abs(a - b)
                    for belief, other in pairs
                    for a, b in zip(belief.log_probs, other, strict=True)
                ]
            self.model.train()
        first = [episode.beliefs[0].log_prob for episode in self.rollout_func.episodes]
        self.__dict__.setdefault("gaps", []).append(max(own))
        self.__dict__.setdefault("first", []).append(first)
        return output

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        rows = gather_object(inputs)
        splits = [Split(tuple(row["turn_gains"]), row["outcome"], row["last_gain"]) for row in rows]
        turns = Turns.of(splits, [row["question_id"] for row in rows])
        values = turns.by_episode(resolve_estimator("igpo-separate")(turns))
        start = self.accelerator.process_index * len(inputs)
        for row, mine, paid in zip(inputs, values[start:], output["advantages"].numpy(), strict=False):
            expected = np.append(0.0, mine)[row["token_turns"]]
            np.testing.assert_allclose(paid[: len(expected)], expected, atol=1e-6)
        self.__dict__.setdefault("groups", []).append([row["question_id"] for row in rows])
        return output


def trainer(folder: Path, peft_config: Any = None, **config: Any) -> Watched:
    model, tokenizer = load_model("nano")
    closing = tokenizer.convert_tokens_to_ids(["</search>", "</answer>"])
    given = {
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 400,
        "learning_rate": 1e-3,
        "generation_kwargs": {"max_new_tokens": 40, "eos_token_id": [tokenizer.eos_token_id, *closing]},
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        **config,
    }
    return Watched(
        model=model,
        processing_class=tokenizer,
        args=GRPOConfig(output_dir=str(folder), **given),
        train_dataset=dataset(**WORLD),
        rollout_func=Rollouts(scorer="policy", records=folder / "episodes", **WORLD),
        reward_funcs=episode_reward,
        peft_config=peft_config,
    )


def main() -> None:
    """Train, and write what this process saw."""
    folder = Path(sys.argv[1])
    run = trainer(folder / "run", per_device_train_batch_size=2)
    run.train()
    seen = {
        "processes": run.accelerator.num_processes,
        "gaps": run.gaps,
        "first": run.first,
        "groups": run.groups,
        "weights": [float(weight.detach().double().sum()) for weight in run.model.parameters()],
        "log": run.state.log_history[0],
    }
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
