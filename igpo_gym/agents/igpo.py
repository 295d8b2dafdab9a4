"""The reference trainer: policy gradients with an advantage for every turn, in one file.

    rollouts of batch_questions x group_size episodes -> an advantage per turn -> epochs optimiser steps

With rho_i the importance ratio of a token that the agent wrote (or of its turn), A_i the advantage of its
turn and w_i its weight in the mean, a step descends

    loss = - sum_i w_i min(rho_i A_i, clip(rho_i, 1 - eps, 1 + eps) A_i) + kl * sum_i w_i KL_i
    KL_i = exp(d_i) - d_i - 1,  d_i = log p_reference - log p       (the k3 estimator, as in GRPO)

Prompts and search results carry no loss. The tokens are those that were sampled, and so are the
log-probabilities in the denominator of rho: ``log_prob_gap`` in the log says how far the trainer's own are
from them before the first step, which should be rounding and nothing else.

A run is a folder: ``settings.json``, ``log.jsonl`` (a line per update), ``state.pt`` (the checkpoint, replaced
whole), ``best`` (by validation F1) and ``last``, both ordinary transformers folders. Started again, a run goes
on from its checkpoint, and on a CPU it ends with the very weights of a run that was never stopped.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from igpo_gym.agents.advantages import (
    ADVANTAGES,
    CLIP_SCALES,
    Floats,
    Turns,
    collapse_rate,
    curriculum,
    igpo,
    per_token,
)
from igpo_gym.agents.settings import Settings
from igpo_gym.agents.tokens import TokenRow, token_rows
from igpo_gym.episode import Episode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Metrics = dict[str, float]


# The batch: what a policy did, in tokens.


@dataclass(frozen=True, slots=True)
class Sample:
    """Tokens that one or several episodes are learned from.

    An episode's own sample has no rows: ``ids`` and ``written`` are [tokens]. In a micro-batch they are
    [episodes, longest], padded at the end, where a causal model's earlier tokens do not see it. All other
    fields have a number per token that the agent wrote, episode after episode.
    """

    ids: Tensor
    written: Tensor
    """Which tokens the agent wrote."""
    turns: Tensor
    """The number of the token's turn, counted through the sample."""
    sampled: Tensor
    """The log-probability with which the token was sampled, in nats."""
    advantages: Tensor
    clips: Tensor
    """Ratios count between 1 - clip and 1 + clip."""
    weights: Tensor
    """Sum to 1 over the whole batch, so that it may be cut into micro-batches of any size."""


def samples(
    rows: Sequence[TokenRow], turns: Turns, advantages: Floats, clips: Floats, loss: str
) -> list[Sample]:
    """A sample for each row. Under ``loss`` "token-mean" each token of the batch has the same weight, under
    "sequence-mean" each episode has."""
    written = [int(row.mask.sum()) for row in rows]
    means = [sum(written)] * len(rows) if loss == "token-mean" else [len(rows) * each for each in written]
    numbers = [row.turn for row in rows]
    spread = zip(
        rows, per_token(turns, advantages, numbers), per_token(turns, clips, numbers), means, strict=True
    )
    return [
        Sample(
            ids=torch.from_numpy(row.ids),
            written=torch.from_numpy(row.mask),
            turns=torch.from_numpy(row.turn[row.mask]),
            sampled=torch.from_numpy(row.log_probs[row.mask]),
            advantages=torch.from_numpy(advantage[row.mask]).float(),
            clips=torch.from_numpy(clip[row.mask]).float(),
            weights=torch.full((int(row.mask.sum()),), 1.0 / max(mean, 1)),
        )
        for row, advantage, clip, mean in spread
    ]


def micro_batches(episodes: Sequence[Sample], tokens: int, device: torch.device) -> list[Sample]:
    """Episodes of like length together: at most ``tokens`` with the padding, but at least one episode."""
    groups: list[list[Sample]] = []
    for episode in sorted(episodes, key=lambda episode: -len(episode.ids)):
        if groups and (len(groups[-1]) + 1) * len(groups[-1][0].ids) <= tokens:
            groups[-1].append(episode)
        else:
            groups.append([episode])
    return [_collated(group, device) for group in groups]


def _collated(group: Sequence[Sample], device: torch.device) -> Sample:
    turns = [episode.turns + (place << 32) for place, episode in enumerate(group)]
    joined = {
        name: torch.cat([getattr(episode, name) for episode in group]).to(device)
        for name in ("sampled", "advantages", "clips", "weights")
    }
    return Sample(
        ids=pad_sequence([episode.ids for episode in group], batch_first=True).to(device),
        written=pad_sequence([episode.written for episode in group], batch_first=True).to(device),
        turns=torch.unique(torch.cat(turns), return_inverse=True)[1].to(device),
        **joined,
    )


# The loss.


def log_probs(model: PreTrainedModel, batch: Sample) -> Tensor:
    """The log-probability of each token that the agent wrote, in nats, [tokens].

    Logits are computed for those tokens alone. No argument of transformers says so row by row, so what goes
    into the output projection is picked by a hook.
    """
    predicted = batch.written[:, 1:]

    def pick(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][predicted],)

    hook = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        logits = model(input_ids=batch.ids[:, :-1], use_cache=False).logits.float()
    finally:
        hook.remove()
    targets = batch.ids[:, 1:][predicted]
    return cast(Tensor, logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(-1))


def objective(
    now: Tensor, reference: Tensor | None, batch: Sample, settings: Settings
) -> tuple[Tensor, Metrics]:
    """The batch's share of the loss, of log-probabilities ``now`` and of the reference model's, [tokens].

    The metrics are shares of means as well: the divergence, and how many tokens' ratios were clipped.
    """
    log_ratio = now - batch.sampled
    if settings.ratio == "turn":
        log_ratio = _turn_means(log_ratio, batch.turns)
    ratio = log_ratio.exp()
    plain = ratio * batch.advantages
    clipped = torch.clamp(ratio, 1 - batch.clips, 1 + batch.clips) * batch.advantages
    loss = -(batch.weights * torch.minimum(plain, clipped)).sum()
    metrics = {"clipped": float((batch.weights * (clipped < plain)).sum())}
    if reference is not None:
        difference = reference - now
        divergence = (batch.weights * (difference.exp() - difference - 1)).sum()
        loss = loss + settings.kl * divergence
        metrics["kl"] = float(divergence.detach())
    return loss, metrics | {"loss": float(loss.detach())}


def _turn_means(values: Tensor, turns: Tensor) -> Tensor:
    """The mean of each token's turn."""
    if not len(values):
        return values
    sums = values.new_zeros(int(turns.max()) + 1)
    return (sums.index_add(0, turns, values) / torch.bincount(turns))[turns]


def learn(
    model: PreTrainedModel,
    optimiser: torch.optim.Optimizer,
    batches: Sequence[Sample],
    settings: Settings,
    reference: Callable[[Sample], Tensor] | None = None,
) -> Metrics:
    """``settings.epochs`` steps on a batch; returns the means of the last one, and the gap before the first."""
    device = batches[0].ids.device
    precision = torch.autocast(device.type, torch.bfloat16) if device.type == "cuda" else nullcontext()
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    references: list[Tensor | None] = [None] * len(batches)
    gap = 0.0
    metrics: Metrics = {}
    for epoch in range(settings.epochs):
        metrics = {}
        for place, batch in enumerate(batches):
            with precision:
                now = log_probs(model, batch)
                if reference is not None and epoch == 0:
                    with torch.no_grad():
                        references[place] = reference(batch)
            if epoch == 0 and len(now):
                gap = max(gap, float((now.detach() - batch.sampled).abs().max()))
            loss, parts = objective(now, references[place], batch, settings)
            loss.backward()  # type: ignore[no-untyped-call]
            metrics = {name: metrics.get(name, 0.0) + part for name, part in parts.items()}
        metrics["gradient_norm"] = float(torch.nn.utils.clip_grad_norm_(weights, settings.max_norm))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return metrics | {"log_prob_gap": gap}
