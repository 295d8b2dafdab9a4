"""The model in training as TRL's scorer: alone, with adapters, in two processes, and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl", minversion="1.16", reason="TRL is not installed, or older")

import torch
from trl import GRPOConfig

from igpo_gym.adapters.trl import PolicyScorer, Rollouts, TurnGRPOTrainer, dataset, episode_reward, published
from igpo_gym.adapters.trl.policy import ColocatedScorer, engine_of
from igpo_gym.agents.rollouts.records import read_rollouts, read_settings
from igpo_gym.agents.training.recipes import RECIPES
from igpo_gym.episode import Segment
from igpo_gym.errors import ScoringError, SpecError
from igpo_gym.protocols import AnswerProbe
from igpo_gym.scorers.interface import BeliefRequest
from tests.adapters.trl_run import WORLD, trainer
from tests.conftest import REPOSITORY
from tests.lm.tiny import make_model, make_tokenizer


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.mark.slow
def test_beliefs_are_those_of_the_weights_that_played(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_steps=2)
    run.train()
    assert len(run.gaps) == 2
    assert max(run.gaps) < 1e-4
    messages = [turn.segments[0] for episode in run.rollout_func.episodes for turn in episode.turns]
    assert {segment.weights for segment in messages} == {"1"}
    path = tmp_path / "episodes" / "train-000001-0.jsonl"
    assert "NaN" not in path.read_text()
    assert read_settings(path)["scorer"] == "policy, by transformers"
    recorded = list(read_rollouts(path))
    assert [each.beliefs for each in recorded] == [each.beliefs for each in run.rollout_func.episodes]
    assert sorted(episode.attempt for episode in run.rollout_func.episodes) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.slow
def test_adapters_in_training_believe_for_themselves(tmp_path: Path) -> None:
    from peft import LoraConfig

    lora = LoraConfig(r=8, target_modules=["q_proj", "v_proj", "up_proj"], task_type="CAUSAL_LM")
    run = trainer(tmp_path, peft_config=lora, max_steps=3, learning_rate=1e-2, beta=0.01)
    run.train()
    assert len(run.gaps) == 3
    assert max(run.gaps) < 1e-4
    with run.model.disable_adapter():
        plain = run.rollout_func.engine.scorer.score(
            [_first_request(episode) for episode in run.rollout_func.episodes]
        )
    # Without its adapters the model believes what it believed before it was trained.
    moved = [abs(belief.log_prob - own) for belief, own in zip(plain, run.first[-1], strict=True)]
    assert max(moved) > 1e-2


def _first_request(episode: Any) -> Any:
    from igpo_gym.rewards.belief_requests import trajectory_requests

    return trajectory_requests(episode, WORLD["protocol"].probe)[0]


@pytest.mark.slow
def test_two_processes_share_groups_and_learn_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    settings = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), "OMP_NUM_THREADS": "1"}
    settings |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "-m", "tests.adapters.trl_run", str(tmp_path)],
        cwd=REPOSITORY,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert one["processes"] == other["processes"] == 2
    # A group of four, two attempts on each process; both see all of it.
    assert one["groups"] == other["groups"]
    assert all(len(group) == 4 and len(set(group)) == 1 for group in one["groups"])
    assert max(one["gaps"] + other["gaps"]) < 1e-4
    assert one["weights"] == other["weights"]


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    saved = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    whole = trainer(tmp_path, **saved)
    whole.train()
    resumed = trainer(tmp_path, **saved)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert len(resumed.gaps) == 2
    assert resumed.first == whole.first[2:]
    for name, weight in whole.model.named_parameters():
        assert torch.equal(weight, dict(resumed.model.named_parameters())[name]), name


# The loss, and what it has no place for.


def tiny(folder: Path, estimator: str, **config: Any) -> TurnGRPOTrainer:
    tokenizer = make_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    given = {"report_to": [], "use_cpu": True, "bf16": False, "temperature": 1.0, **config}
    return TurnGRPOTrainer(
        model=make_model("llama"),
        processing_class=tokenizer,
        args=GRPOConfig(output_dir=str(folder), **given),
        train_dataset=dataset(**{**WORLD, "scorer": None}),
        rollout_func=Rollouts(**WORLD, scorer="nano"),
        reward_funcs=episode_reward,
        advantages=estimator,
    )


def test_the_loss_clips_the_ratios_of_turns_between_their_own_bounds(tmp_path: Path) -> None:
    run = tiny(tmp_path, "a2tgpo", loss_type="bnpo")
    torch.manual_seed(1)
    ids = torch.randint(4, 396, (2, 12))
    turns = torch.tensor([[1, 1, 0, 2, 2, 2, 2, 0], [1, 1, 1, 0, 2, 2, 0, 0]])
    model = run.model.eval()
    with torch.no_grad():
        logits = model(input_ids=ids).logits.log_softmax(-1)
    now = logits[:, 3:-1].gather(2, ids[:, 4:, None])[..., 0]
    old = now - torch.randn(2, 8) * 0.3
    advantages = torch.where(turns == 1, 0.7, -1.1) * (turns > 0)
    low, high = torch.where(turns == 1, 0.01, 0.05), torch.where(turns == 1, 0.02, 0.3)
    loss = run._compute_loss(
        model,
        {
            "prompt_ids": ids[:, :4],
            "prompt_mask": torch.ones(2, 4, dtype=torch.long),
            "completion_ids": ids[:, 4:],
            "completion_mask": torch.ones(2, 8, dtype=torch.long),
            "tool_mask": (turns > 0).long(),
            "advantages": advantages,
            "old_per_token_logps": old,
            "clip_low": low,
            "clip_high": high,
            "token_turns": turns,
            "num_items_in_batch": (turns > 0).sum(),
        },
    )
    terms, clipped = [], 0
    for row in range(2):
        for turn in (1, 2):
            own = turns[row] == turn
            ratio = (now - old)[row][own].mean().exp()
            kept = ratio.clamp(1 - low[row][own][0], 1 + high[row][own][0])
            clipped += int(ratio != kept)
            value = advantages[row][own][0]
            terms += [torch.minimum(ratio * value, kept * value)] * int(own.sum())
    assert clipped >= 2
    expected = -torch.stack(terms).mean()
    assert float(loss) == pytest.approx(float(expected), abs=1e-5)
    assert (run.epsilon_low, run.epsilon_high) == (0.2, 0.2)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"beta": 0.1}, "set beta=0"),
        ({"loss_type": "cispo"}, "loss_type to one of grpo"),
        ({"importance_sampling_level": "sequence"}, "importance_sampling_level='token'"),
    ],
)
def test_a_loss_without_a_place_for_the_estimators_ratios_is_refused(
    tmp_path: Path, config: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SpecError, match=problem):
        tiny(tmp_path, "a2tgpo", **config)


def test_episodes_of_another_rollout_function_are_refused_by_name(tmp_path: Path) -> None:
    run = tiny(tmp_path, "igpo-separate", per_device_train_batch_size=2, num_generations=2, max_steps=1)

    def foreign(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        ids = [[5, 6] for _ in prompts]
        told = {"prompt_ids": ids, "completion_ids": ids, "logprobs": None}
        return {**told, "turn_rewards": [[float(place)] for place in range(len(prompts))]}

    run.rollout_func = foreign
    with pytest.raises(SpecError, match="the episodes tell no turn_gains: play them with"):
        run.train()


def test_a_token_that_joins_probe_and_answer_is_told_by_vllm_in_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=1000))
    generation = SimpleNamespace(llm=SimpleNamespace(llm_engine=engine))
    trainer: Any = SimpleNamespace(processing_class=make_tokenizer(), vllm_generation=generation)
    monkeypatch.setattr(
        ColocatedScorer, "_ask", lambda self, prompts: [[-1.0] * prompt.scored for prompt in prompts]
    )
    scorer = ColocatedScorer(trainer, max_aliases=8)
    prompt = (Segment("environment", "user", "Where?"),)
    (belief,) = scorer.score([BeliefRequest(prompt, ("anzig", "Danzig"), AnswerProbe("So: ", ""))])
    assert belief.joined == (True, False)


def engine(**trainer: Any) -> str:
    args = SimpleNamespace(vllm_mode="colocate", vllm_tensor_parallel_size=1)
    vars(args).update({name: trainer.pop(name) for name in list(trainer) if name.startswith("vllm")})
    state = SimpleNamespace(deepspeed_plugin=trainer.pop("deepspeed_plugin", None))
    made = {"use_vllm": False, "is_fsdp_enabled": False, **trainer}
    return engine_of(SimpleNamespace(args=args, accelerator=SimpleNamespace(state=state), **made))  # type: ignore[arg-type]


def test_engines_that_cannot_tell_beliefs_are_refused_by_name() -> None:
    assert engine() == "transformers"
    assert engine(use_vllm=True) == "vLLM (colocate)"
    assert engine(use_vllm=True, vllm_mode="server", vllm_tensor_parallel_size=4) == "vLLM (server)"
    assert engine(deepspeed_plugin=SimpleNamespace(zero_stage=2)) == "transformers"
    with pytest.raises(SpecError, match="set vllm_tensor_parallel_size=1"):
        engine(use_vllm=True, vllm_tensor_parallel_size=2)
    with pytest.raises(SpecError, match="set use_vllm=True"):
        engine(is_fsdp_enabled=True)
    with pytest.raises(SpecError, match="set use_vllm=True"):
        engine(deepspeed_plugin=SimpleNamespace(zero_stage=3))
    with pytest.raises(ScoringError, match="has no trainer"):
        PolicyScorer().score([])


# Published settings.


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_its_place_in_trl(name: str) -> None:
    found = published(name, max_completion_length=20_000)
    config = GRPOConfig(output_dir="unused", **{**found.config, "use_vllm": False}, use_cpu=True, bf16=False)
    assert (config.learning_rate, config.epsilon, config.beta) == (1e-6, 0.2, 0.001)
    assert found.episodes["scorer"] == "policy"
    assert set(found.trainer) == {"advantages", "gamma"}


def test_the_authors_settings_are_those_that_they_published() -> None:
    found = published("authors", max_completion_length=20_000)
    assert (found.config["num_generations"], found.config["generation_batch_size"]) == (16, 16 * 32)
    given = {**found.config, "use_vllm": False, "per_device_train_batch_size": 4}
    steps = {"gradient_accumulation_steps": found.step_rollouts // 4}
    config = GRPOConfig(output_dir="unused", **given, **steps, use_cpu=True, bf16=False)
    assert config.steps_per_generation / config.gradient_accumulation_steps == 16  # optimizer steps a batch
    assert published("dr-venus", max_completion_length=20_000).step_rollouts == 16 * 8
    assert found.config["generation_kwargs"]["max_tokens"] == 2000
    assert (found.episodes["max_turns"], found.episodes["protocol"]) == (10, "igpo")
    assert found.trainer == {"advantages": "igpo-separate", "gamma": 1.0}
    paper = published("paper", max_completion_length=20_000, use_vllm=False)
    assert paper.config["generation_kwargs"] == {"max_new_tokens": 2000}
    assert paper.trainer["advantages"] == "igpo-joint"
    with pytest.raises(SpecError, match="unknown recipe 'igpo'"):
        published("igpo", max_completion_length=20_000)
