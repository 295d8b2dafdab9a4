"""Published settings (``igpo_gym.agents.training.recipes``) in TRL's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from igpo_gym.agents.training.recipes import recipe
from igpo_gym.protocols import resolve_protocol

_CONFIG = {
    "group_size": "num_generations",
    "temperature": "temperature",
    "epochs": "num_iterations",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "clip": "epsilon",
    "kl_coef": "beta",
    "entropy_coef": "entropy_coef",
}
"""Settings that ``GRPOConfig`` has under these names."""

_TRAINER = ("advantages", "gamma")
"""Settings that ``TurnGRPOTrainer`` takes under the same names."""

_EPISODES = ("protocol", "tools", "max_turns", "top_k", "on_invalid", "scorer", "reward")
"""Settings that the episodes have under the same names."""

_LOSS = {"token-mean": "dapo"}
"""Means over the batch's tokens."""


@dataclass(frozen=True, slots=True)
class Published:
    """The settings of a publication, for the three places where TRL takes them.

    >>> authors = published("authors", max_completion_length=16384)
    >>> authors.config["beta"], authors.config["generation_batch_size"], authors.trainer["advantages"]
    (0.001, 512, 'igpo-separate')
    >>> authors.step_rollouts
    32
    """

    config: Mapping[str, Any]
    """Arguments of ``GRPOConfig``."""
    episodes: Mapping[str, Any]
    """Arguments of :func:`dataset`, and of :class:`Rollouts`."""
    trainer: Mapping[str, Any]
    """Arguments of :class:`TurnGRPOTrainer`."""
    step_rollouts: int
    """Rollouts of an optimizer step."""


def published(name: str, *, max_completion_length: int, use_vllm: bool = True) -> Published:
    """The recipe of this name, as ``igpo-gym train --recipe`` has it, with the model in training as scorer.

    ``max_completion_length`` is the room of an episode in tokens: the publications' turns take 2,000 tokens
    each at most, and their results as many again. TRL makes an optimizer step of
    ``per_device_train_batch_size`` times ``gradient_accumulation_steps`` rollouts on each process: choose
    them for your machine, so that all processes together come to ``step_rollouts``. A recipe whose reward has
    a judge needs ``judge=URL`` for the episodes. Raises SpecError, with the names that exist, for another
    name.
    """
    settings = dict(recipe(name).settings)
    stops = list(resolve_protocol(settings["protocol"]).stops)
    tokens = settings.pop("max_tokens")
    ends = {"max_tokens": tokens, "stop": stops, "include_stop_str_in_output": True}
    rollouts = settings.pop("batch_questions") * settings["group_size"]
    step_rollouts = rollouts // settings.pop("minibatches")
    config = {
        **{name: settings.pop(ours) for ours, name in _CONFIG.items()},
        "generation_batch_size": rollouts,
        "loss_type": _LOSS[settings.pop("loss")],
        "lr_scheduler_type": "constant",
        "max_completion_length": max_completion_length,
        "use_vllm": use_vllm,
        "generation_kwargs": ends if use_vllm else {"max_new_tokens": tokens},
    }
    trainer = {name: settings.pop(name) for name in _TRAINER}
    episodes = {name: settings.pop(name) for name in _EPISODES if name in settings}
    if settings:
        raise ValueError(f"settings of the recipe {name!r} that have no place in TRL: {', '.join(settings)}")
    return Published(config, episodes, trainer, step_rollouts)
