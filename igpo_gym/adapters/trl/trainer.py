"""``GRPOTrainer`` with an advantage, and clip bounds, for every turn."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer

from igpo_gym.adapters.tokens import read_split, turn_numbers
from igpo_gym.adapters.trl.environments import Environments
from igpo_gym.adapters.trl.rollouts import Rollouts
from igpo_gym.adapters.trl.rows import columns
from igpo_gym.adapters.trl.transcripts import Conversation, Verbatim
from igpo_gym.agents.training.estimators import (
    DEFAULT,
    Estimator,
    Floats,
    Turns,
    check_reward,
    collapse_rate,
    per_token,
    resolve_estimator,
)
from igpo_gym.data.scores import METRICS, scores
from igpo_gym.errors import SpecError

_GATHERED = ("turn_gains", "outcome", "last_gain", "token_turns")
"""The columns of a row that advantages are made of."""

_CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
"""TRL's losses that keep importance ratios between two bounds."""


class TurnGRPOTrainer(GRPOTrainer):
    """``GRPOTrainer`` that gives every turn its own advantage.

    TRL reduces an episode to one number; here gains and outcomes of :class:`Rollouts`, or of
    :class:`Environments`, are kept apart, and all tokens of a turn get the advantage that ``advantages`` (a
    name, with parameters or without, or an ``Estimator``) gives it within its group, discounted by ``gamma``
    per turn. An estimator that has clip bounds or ratios of its own has them here too: ``a2tgpo`` clips the
    ratios of turns, each between its own bounds. Everything else is TRL's: KL, loss types, logging, its
    reward (of the sum) included. The metric ``collapsed_groups`` is the share of groups that teach nothing,
    ``batches_without_gain`` that of batches of which no turn has a gain though the reward pays some.

    With :class:`Environments` the conversations are scored and trained on as they stand, thoughts included; a
    message is a turn, whatever it calls, and what the model writes after its answer is left out.

    Raises SpecError for an estimator that there is not, that needs states, that ignores gains which the
    reward pays, or whose ratios TRL's loss does not have in this configuration; and for episodes that are
    neither of :class:`Rollouts` nor of :class:`Environments`.
    """

    epsilon_low: Any
    epsilon_high: Any

    def __init__(
        self, *args: Any, advantages: str | Estimator = DEFAULT, gamma: float = 1.0, **kwargs: Any
    ) -> None:
        self._estimator = resolve_estimator(advantages)
        self._gamma = gamma
        if self._estimator.needs_states:
            raise SpecError(f"{self._estimator.name} compares states, which TRL does not hand over")
        self._compared = 0
        """How many batches have been compared since the process began."""
        self._expects_gains = False
        given = inspect.signature(GRPOTrainer).bind_partial(*args, **kwargs).arguments
        rollouts, environments = given.get("rollout_func"), given.get("environment_factory")
        source = environments if environments is not None else rollouts
        self._environments = environments if isinstance(environments, Environments) else None
        if environments is not None and self._environments is None:
            raise SpecError("environment_factory is to be igpo_gym.adapters.trl.environment_factory(...)")
        if self._environments is not None and given.get("tools"):
            raise SpecError("tools beside an environment's have no turns: give them to environment_factory")
        if isinstance(source, Rollouts | Environments):
            check_reward(self._estimator, source.engine.reward, gamma)
            self._expects_gains = self._estimator.uses_gains and bool(source.engine.reward.gains)
        self._framing: Verbatim | None = None
        self._turns: Tensor | None = None
        if given.get("args") is not None:
            check_loss(self._estimator, given["args"])
        super().__init__(*args, **kwargs)
        if isinstance(source, Rollouts | Environments):
            source.bind(self)

    # Episodes of Environments: from TRL's conversations to rows.

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """TRL's, which samples the next message of all conversations that go on."""
        if self._environments is not None:
            self._environments.message = (self._environments.message or 0) + 1
        sampled: tuple[Any, ...] = super()._generate_single_turn(*args, **kwargs)
        return sampled

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        if self._environments is not None:
            self._environments.message = 0
        prompt_ids, ids, mask, completions, log_probs, extra, *images = super()._generate(prompts)
        if self._environments is None:
            return prompt_ids, ids, mask, completions, log_probs, extra, *images
        if self._framing is None:
            self._framing = Verbatim(self.processing_class)
        talks = [
            Conversation(*of_one, None if log_probs is None else log_probs[place])
            for place, of_one in enumerate(zip(prompt_ids, ids, mask, completions, strict=True))
        ]
        weights = str(self.state.global_step)
        kept = self._environments.conclude_with(self.environments, talks, self._framing, weights)
        episodes = [environment.episode for environment in self.environments]
        if self._environments.records is not None:
            self._environments.records.keep(episodes, self._environments.engine, self)
        turns = [turn_numbers(talk.mask[:length]).tolist() for talk, length in zip(talks, kept, strict=True)]
        scored = [scores(episode) for episode in episodes if episode.has_outcome]
        for name in METRICS if scored else ():
            self._log_metric(name, float(np.mean([each[name] for each in scored])))
        return (
            prompt_ids,
            [list(talk.completion_ids[:length]) for talk, length in zip(talks, kept, strict=True)],
            [list(talk.mask[:length]) for talk, length in zip(talks, kept, strict=True)],
            completions,
            log_probs and [row[:length] for row, length in zip(log_probs, kept, strict=True)],
            {**extra, "token_turns": turns, **columns(episodes, self._environments.engine.reward)},
            *images,
        )

    # Advantages and bounds.

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        training = self.model.training
        size = self.num_generations if training else self.num_generations_eval
        if missing := [name for name in _GATHERED if name not in inputs[0]]:
            raise SpecError(
                f"the episodes tell no {missing[0]}: play them with igpo_gym.adapters.trl.Rollouts, or with "
                "environment_factory(...)"
            )
        rows = gather_object([{name: row[name] for name in _GATHERED} for row in inputs])
        turns = Turns.of(list(map(read_split, rows)), groups=[place // size for place in range(len(rows))])
        self._compared += 1
        seed = self.args.seed, int(self.state.global_step), self._compared
        values = self._estimator(turns, self._gamma, seed=seed)
        metrics = self._metrics["train" if training else "eval"]
        metrics["collapsed_groups"].append(collapse_rate(turns, values))
        if self._expects_gains:
            metrics["batches_without_gain"].append(float(not turns.gains.any()))

        numbers = [row["token_turns"] for row in rows]
        first = self.accelerator.process_index * len(inputs)

        def spread(values: Floats) -> Tensor:
            """A number of each turn on its tokens, of this process's rows; 0 on all other tokens."""
            filled = torch.zeros(output["completion_ids"].shape)
            for place, row in enumerate(per_token(turns, values, numbers)[first : first + len(inputs)]):
                filled[place, : len(row)] = torch.from_numpy(row)
            return filled.to(output["completion_ids"].device)

        output["advantages"] = spread(values)
        own = self._estimator
        if own.clip or own.clip_scale:
            low, high = (1.0, 1.0) if own.clip else (self.epsilon_low, self.epsilon_high)
            scales = own.clips(turns, 1.0)
            output["clip_low"], output["clip_high"] = spread(low * scales[0]), spread(high * scales[1])
        if own.ratio == "turn":
            places = np.concatenate([np.arange(1, length + 1.0) for length in turns.lengths])
            output["token_turns"] = spread(places).long()
        return output

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        with self._own_bounds(inputs) as inputs:
            loss: Tensor = super()._compute_loss(model, inputs)
        return loss

    @contextmanager
    def _own_bounds(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """TRL's loss with the estimator's bounds, a pair for each token, and the ratios of its turns."""
        bounds = self.epsilon_low, self.epsilon_high
        self._turns = inputs.get("token_turns")
        try:
            if "clip_low" in inputs:
                self.epsilon_low, self.epsilon_high = inputs["clip_low"], inputs["clip_high"]
            if self._turns is not None and "old_per_token_logps" in inputs:
                old = turn_means(inputs["old_per_token_logps"], self._turns)
                inputs = {**inputs, "old_per_token_logps": old}
            yield inputs
        finally:
            self._turns = None
            self.epsilon_low, self.epsilon_high = bounds

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """TRL's; while the loss of turns' ratios is computed, each token has the mean of its turn."""
        log_probs, *rest = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        return (log_probs if self._turns is None else turn_means(log_probs, self._turns)), *rest


def check_loss(estimator: Estimator, config: GRPOConfig) -> None:
    """Raise SpecError where TRL's loss has no place for the bounds and ratios of an estimator."""
    if not (estimator.clip or estimator.clip_scale or estimator.ratio):
        return
    if config.loss_type not in _CLIPPED or config.importance_sampling_level != "token":
        raise SpecError(
            f"{estimator.name} clips ratios between bounds of its own: set "
            f"importance_sampling_level='token' and loss_type to one of {', '.join(_CLIPPED)}, "
            f"not {config.loss_type!r}"
        )
    if estimator.ratio == "turn" and config.beta != 0.0:
        raise SpecError(
            f"{estimator.name} compares whole turns with what sampled them, and TRL would take the KL of "
            "their means as well: set beta=0"
        )


def turn_means(values: Tensor, turns: Tensor) -> Tensor:
    """For each token the mean of its turn, both [rows, tokens]; tokens of no turn (0) keep their own.

    >>> turn_means(torch.tensor([[5.0, 1.0, 3.0, 7.0]]), torch.tensor([[0, 1, 1, 2]]))
    tensor([[5., 2., 2., 7.]])
    """
    slots = int(turns.max()) + 1
    sums = values.new_zeros(len(values), slots).scatter_add(1, turns, values)
    counts = values.new_zeros(len(values), slots).scatter_add(1, turns, torch.ones_like(values))
    return torch.where(turns > 0, (sums / counts.clamp(min=1)).gather(1, turns), values)
