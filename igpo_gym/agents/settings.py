"""All that decides how a training run goes. The command line's options are made of it, help included."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from igpo_gym.agents.advantages import ADVANTAGES
from igpo_gym.errors import SpecError, choose

POLICY = "nano-base" if (Path(__file__).parents[1] / "models" / "nano-base").is_dir() else "nano"
"""The packaged model that training begins with by default."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run; the defaults train the packaged model in about ten minutes on two cores.

    Raises SpecError for values that do not exist or do not go together.
    """

    model: Annotated[str, "The policy to train: nano-base, nano, a hub name, a folder or a GGUF file."] = (
        POLICY
    )
    questions: Annotated[str, "Questions to train on: world, hotpotqa:FILE, jsonl:FILE."] = "world"
    validation: Annotated[str, "Questions to validate on."] = "world:validation"
    search: Annotated[str | None, "bm25:INDEX; by default BM25 over the questions' own passages."] = None
    protocol: Annotated[str, "The agent's grammar: tags or tool_call."] = "tags"
    max_turns: Annotated[int, "Messages the agent may write in an episode."] = 6
    top_k: Annotated[int, "Passages that a query brings."] = 3

    reward: Annotated[str, "A reward or a sum of them, see igpo-gym rewards."] = "igpo"
    scorer: Annotated[
        str,
        "Who holds the belief: policy (the model in training, as in IGPO), frozen (the model as it began), "
        "refreshed:N (a copy, renewed every N updates), none, or any scorer such as nano or a server's URL.",
    ] = "policy"
    advantages: Annotated[str, f"How turns are compared: {', '.join(ADVANTAGES)}."] = "igpo-separate"
    gamma: Annotated[float, "Discount per turn."] = 1.0
    curriculum: Annotated[bool, "Move weight from gains to outcomes along the run (igpo-* only)."] = False

    updates: Annotated[int, "How many batches of rollouts to learn from."] = 100
    batch_questions: Annotated[int, "Questions in a batch."] = 8
    group_size: Annotated[int, "Rollouts of each question, which are compared with each other."] = 8
    temperature: Annotated[float, "Of sampling in training; validation is greedy."] = 1.0
    max_tokens: Annotated[int, "Tokens the agent may write in a turn."] = 64

    epochs: Annotated[int, "Optimiser steps on each batch. From the second on, clipping is at work."] = 2
    learning_rate: Annotated[float, "Of AdamW, constant."] = 1e-4
    clip: Annotated[float, "Importance ratios count between 1 - clip and 1 + clip."] = 0.2
    ratio: Annotated[
        Literal["token", "turn"],
        "Importance ratio of each token, or the geometric mean over the turn (GSPO's, by turn).",
    ] = "token"
    loss: Annotated[
        Literal["token-mean", "sequence-mean"],
        "Every token of the batch weighs the same, or every episode does.",
    ] = "token-mean"
    kl: Annotated[float, "Weight of the divergence from the model as it began; 0 for no reference model."] = (
        0.001
    )
    max_norm: Annotated[float, "Gradients are clipped to this norm."] = 1.0
    micro_batch: Annotated[int, "Tokens in one forward and backward pass: bounds the memory."] = 8192
    gradient_checkpointing: Annotated[bool, "Recompute activations: less memory, a third more time."] = False
    lora: Annotated[int, "Rank of LoRA adapters on all linear layers; 0 trains every weight."] = 0
    device: Annotated[str, "auto, cpu, cuda or mps."] = "auto"

    validate_every: Annotated[int, "Updates between validations (and checkpoints)."] = 10
    validation_questions: Annotated[int, "How many of the validation questions to use."] = 100
    seed: Annotated[int, "Draws the questions and the samples."] = 0

    def __post_init__(self) -> None:
        choose(ADVANTAGES, self.advantages, "advantage estimator")
        if self.curriculum and not self.advantages.startswith("igpo"):
            raise SpecError(f"the curriculum is for igpo-joint and igpo-separate, not for {self.advantages}")
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise SpecError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("kl", "lora", "temperature"):
            if getattr(self, name) < 0:
                raise SpecError(f"{name} must not be negative, and {getattr(self, name)} is")
        if not 0 < self.clip < 1:
            raise SpecError(f"clip must be between 0 and 1, not {self.clip}")
        if self.scorer.startswith("refreshed") and self.refresh_every is None:
            raise SpecError(f"write a refreshed scorer as refreshed:10, not {self.scorer!r}")

    @property
    def refresh_every(self) -> int | None:
        """After how many updates the scorer takes over the policy's weights; None if it never does."""
        match = re.fullmatch(r"refreshed:([1-9]\d*)", self.scorer)
        return int(match[1]) if match else None


_AT_LEAST_ONE = (
    "updates",
    "batch_questions",
    "group_size",
    "max_tokens",
    "epochs",
    "micro_batch",
    "validate_every",
    "validation_questions",
)
