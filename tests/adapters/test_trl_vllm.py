"""Beliefs of the model in training from a real vLLM: in the trainer's process, and behind a server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", minversion="1.16", reason="TRL is not installed, or older")
pytest.importorskip("vllm", reason="vLLM is not installed")

import torch
from trl import GRPOConfig

from igpo_gym.adapters.trl import PolicyScorer, Rollouts, TurnGRPOTrainer, dataset, episode_reward
from igpo_gym.episode import Episode
from igpo_gym.lm.loading import load_model
from igpo_gym.protocols import TAGS
from igpo_gym.rewards.belief_requests import score_trajectories
from igpo_gym.scorers.local import TransformersScorer
from tests.integration.vllm import vllm_server

pytestmark = pytest.mark.slow

WORLD: dict[str, Any] = {"questions": "world#documents=60,questions=20", "protocol": TAGS, "max_turns": 3}
ENDS = {"max_tokens": 40, "stop": ["</search>", "</answer>"], "include_stop_str_in_output": True}


def nano(folder: Path) -> str:
    """The packaged model in a folder of its own, where vLLM finds it."""
    model, tokenizer = load_model("nano")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def settings_of_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


class Watched(TurnGRPOTrainer):
    """Keeps each batch's episodes, and what a scorer of our own believes of them with the same weights."""

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        output = super()._generate(prompts)
        model, tokenizer = load_model("nano")
        with torch.no_grad():
            weights = dict(self.model.named_parameters())
            for name, weight in model.named_parameters():
                weight.copy_(weights[name])
        episodes = list(self.rollout_func.episodes)
        expected = score_trajectories(TransformersScorer(model, tokenizer), episodes, TAGS.probe)
        self.__dict__.setdefault("seen", []).append((episodes, expected))
        return output


def trained(folder: Path, monkeypatch: pytest.MonkeyPatch, **config: Any) -> tuple[Watched, Rollouts]:
    import trl.generation.vllm_generation as generation
    import vllm._custom_ops as operations

    # vLLM's own choice is bfloat16, whose rounding would hide what is compared. In float32 it repacks weights
    # for oneDNN and drops them, so that there is nothing left to load new ones into.
    monkeypatch.setattr(operations, "_supports_onednn", False)
    monkeypatch.setattr(generation, "LLM", partial(generation.LLM, dtype="float32", enforce_eager=True))
    model, tokenizer = load_model(nano(folder / "nano"))
    rollouts = Rollouts(scorer="policy", **WORLD)
    trainer = Watched(
        model=model,
        processing_class=tokenizer,
        args=GRPOConfig(
            output_dir=str(folder / "run"),
            max_steps=2,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=600,
            generation_kwargs=ENDS,
            use_vllm=True,
            vllm_max_model_length=2048,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            **config,
        ),
        train_dataset=dataset(**WORLD),
        rollout_func=rollouts,
        reward_funcs=episode_reward,
    )
    trainer.train()
    return trainer, rollouts


def differences(seen: list[tuple[list[Episode], Any]]) -> list[float]:
    return [
        abs(own - other)
        for episodes, expected in seen
        for episode, beliefs in zip(episodes, expected, strict=True)
        for belief, local in zip(episode.beliefs, beliefs, strict=True)
        for own, other in zip(belief.log_probs, local.log_probs, strict=True)
    ]


def test_a_colocated_vllm_believes_what_the_model_in_training_believes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, rollouts = trained(tmp_path, monkeypatch, vllm_mode="colocate", learning_rate=1e-3)
    assert isinstance(rollouts.engine.scorer, PolicyScorer)
    assert rollouts.engine.scorer.engine == "vLLM (colocate)"
    found = differences(trainer.seen)
    assert len(found) > 30
    assert max(found) < 1e-2
    # The second batch is scored with the weights after the first step, which believe otherwise.
    (_, _), (episodes, _) = trainer.seen
    before = score_trajectories(TransformersScorer(*load_model("nano")), episodes, TAGS.probe)
    moved = differences([(episodes, before)])
    assert max(moved) > 10 * max(found)
    assert {segment.weights for e in episodes for segment in e.segments if segment.author == "agent"} == {"1"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    settings = ("--max-model-len", "2048", "--logprobs-mode", "processed_logprobs")
    with vllm_server(nano(tmp_path / "served"), tmp_path / "server.log", *settings) as url:
        yield url


def test_a_server_believes_what_the_model_in_training_believes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    from trl.generation.vllm_client import VLLMClient

    # TRL sends weights to a server over NCCL alone, which needs a GPU: here they stay what they are.
    monkeypatch.setattr(VLLMClient, "init_communicator", lambda *_, **__: None)
    monkeypatch.setattr(VLLMClient, "update_named_params", lambda *_: None)
    config = {"vllm_mode": "server", "vllm_server_base_url": server, "learning_rate": 0.0}
    trainer, rollouts = trained(tmp_path, monkeypatch, **config)
    assert isinstance(rollouts.engine.scorer, PolicyScorer)
    assert rollouts.engine.scorer.engine == "vLLM (server)"
    found = differences(trainer.seen)
    assert len(found) > 30
    assert max(found) < 1e-2
