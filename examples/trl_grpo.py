"""Train a language model with TRL's GRPO and an advantage for every turn: IGPO, whose scorer is the model.

The defaults train the packaged model on a generated world for a few steps, on a CPU:

    pip install -e '.[trl]'
    python examples/trl_grpo.py
    python examples/trl_grpo.py --model Qwen/Qwen2.5-1.5B-Instruct --questions hotpotqa:FILE --steps 500
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trl import GRPOConfig

from igpo_gym.adapters.trl import Rollouts, TurnGRPOTrainer, dataset, episode_reward
from igpo_gym.agents.training.estimators import DEFAULT
from igpo_gym.lm.loading import load_model
from igpo_gym.protocols import CHAT, TAGS

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedTokenizerBase


def main() -> None:
    """Train, and print what TRL logs of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, a name on the Hugging Face hub, or a folder")
    parser.add_argument("--questions", default="world#documents=60,questions=20")
    parser.add_argument("--scorer", default="policy", help="policy: the model in training; or another model")
    parser.add_argument("--advantages", default=DEFAULT, help="its name, with parameters: a2tgpo(alpha=1.0)")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--group", type=int, default=4, help="rollouts of a question")
    parser.add_argument("--batch", type=int, default=8, help="rollouts of a step")
    parser.add_argument("--max-turns", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--lora", type=int, default=0, help="the rank of adapters; 0: all weights learn")
    parser.add_argument("--vllm", action="store_true", help="sample, and ask for beliefs, with vLLM")
    parser.add_argument("--records", help="a folder for the episodes")
    parser.add_argument("--out", default="trl-run")
    options = parser.parse_args()

    model, tokenizer = load_model(options.model)
    # A model without a chat template writes everything behind the prompt as one text.
    protocol = CHAT if tokenizer.chat_template else TAGS
    episodes = {"questions": options.questions, "protocol": protocol, "max_turns": options.max_turns}
    trainer = TurnGRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=GRPOConfig(
            output_dir=options.out,
            max_steps=options.steps,
            per_device_train_batch_size=options.batch,
            num_generations=options.group,
            max_completion_length=4096,
            learning_rate=options.learning_rate,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            use_vllm=options.vllm,
            use_cpu=model.device.type == "cpu",
            bf16=model.device.type == "cuda",
            generation_kwargs=_ends(tokenizer, protocol.stops, options.vllm),
        ),
        train_dataset=dataset(**episodes),
        rollout_func=Rollouts(scorer=options.scorer, records=options.records, **episodes),
        reward_funcs=episode_reward,
        peft_config=_adapters(options.lora),
        advantages=options.advantages,
    )
    trainer.train()
    for line in trainer.state.log_history:
        if "reward" in line:
            print({name: round(line[name], 3) for name in ("reward", "em", "f1", "collapsed_groups", "loss")})


def _ends(tokenizer: PreTrainedTokenizerBase, stops: Sequence[str], vllm: bool) -> dict[str, Any]:
    """Where a message ends; what is sampled beyond it is cut off."""
    if vllm:
        return {"max_tokens": 128, "stop": list(stops), "include_stop_str_in_output": True}
    closing = [tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in stops]
    ends = [tokenizer.eos_token_id, *(ids[0] for ids in closing if len(ids) == 1)]
    return {"max_new_tokens": 128, "eos_token_id": ends}


def _adapters(rank: int) -> PeftConfig | None:
    """LoRA on all linear layers."""
    if not rank:
        return None
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


if __name__ == "__main__":
    main()
