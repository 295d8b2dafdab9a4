"""The loss, and the optimizer steps that descend it.

With rho_i the importance ratio of a token that the agent wrote (or of its turn), A_i the advantage of its
turn and w_i its weight in the mean, a step descends

    loss = - sum_i w_i min(rho_i A_i, clip(rho_i, 1 - low_i, 1 + high_i) A_i) + kl_coef * sum_i w_i KL_i
           - entropy_coef * sum_i w_i H_i
    KL_i = exp(d_i) - d_i - 1,  d_i = log p_reference - log p       (the k3 estimator, as in GRPO)

with H_i the policy's entropy at the token. Prompts and search results carry no loss. All p are those of
the policy that samples: logits are divided by the temperature. The tokens are those that were sampled. At
temperature 1 so are the log-probabilities in the denominator of rho; messages hold those of the model
itself, so at another temperature the denominator is the trainer's own forward pass before the first step.
``log_prob_gap`` in the log says how far sampler and trainer are from each other then, which should be
rounding and nothing else. KL_i is clamped to 10, as verl clamps it.

In 16 bits, and where a server samples, that rounding is no longer small. The denominator of rho is then the
trainer's own forward pass too, and with mu_i the sampler's probability A_i is multiplied by
min(p_i / mu_i, importance_cap) before the first step: truncated importance sampling, as TRL and verl have it.

The batch's tensors are made in ``batches``, logits in ``logits``, optimizers in ``optimizers``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from igpo_gym.agents.training.batches import Batch
from igpo_gym.agents.training.logits import Reading, read
from igpo_gym.agents.training.logs import Metrics
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import LearningError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

WIDE_GAP = 0.05
"""A difference between the sampler's log-probability of a token and the trainer's that is worth a warning."""


def objective(
    now: Tensor, reference: Tensor | None, batch: Batch, settings: Settings, entropy: Tensor | None = None
) -> tuple[Tensor, Metrics]:
    """The batch's share of the loss, of log-probabilities ``now`` and of the reference model's, [tokens].

    ``entropy`` is that of the policy at each token, for the bonus. The metrics are shares of means as well:
    the divergence, and how many tokens' ratios were clipped.
    """
    log_ratio = now - batch.sampled
    if settings.importance_ratio == "turn":
        log_ratio = _turn_means(log_ratio, batch.turns)
    ratio = log_ratio.exp()
    plain = ratio * batch.advantages
    clipped = torch.clamp(ratio, 1 - batch.low, 1 + batch.high) * batch.advantages
    loss = -(batch.weights * torch.minimum(plain, clipped)).sum()
    metrics = {"clipped": float((batch.weights * (clipped < plain)).sum())}
    if reference is not None:
        divergence = (batch.weights * k3(reference - now)).sum()
        loss = loss + settings.kl_coef * divergence
        metrics["kl"] = float(divergence.detach())
    if entropy is not None:
        loss = loss - settings.entropy_coef * (batch.weights * entropy).sum()
    return loss, metrics | {"loss": float(loss.detach())}


def k3(difference: Tensor) -> Tensor:
    """``exp(d) - d - 1`` of ``d = log p_reference - log p``, in nats.

    It is clamped as verl clamps it, d to 20 and k3 to 10: one token that the reference holds for impossible
    would else outweigh all others.

    >>> k3(torch.tensor([0.0, 1.0, 100.0])).tolist()
    [0.0, 0.718..., 10.0]
    """
    difference = difference.clamp(-20, 20)
    return (difference.exp() - difference - 1).clamp(-10, 10)


def _turn_means(values: Tensor, turns: Tensor) -> Tensor:
    """The mean of each token's turn."""
    if not len(values):
        return values
    sums = values.new_zeros(int(turns.max()) + 1)
    return (sums.index_add(0, turns, values) / torch.bincount(turns))[turns]


def anchored(batch: Batch, before: Reading, settings: Settings, cap: float) -> tuple[Batch, Metrics]:
    """The batch with the denominators of its ratios, from what the model says ``before`` the first step.

    With a ``cap`` its advantages are corrected for the sampler's rounding. The metrics are sums over tokens,
    but for ``log_prob_gap``, the largest.
    """
    if not len(batch.sampled):
        return batch, {}
    log_ratio = before.plain - batch.sampled
    gap = log_ratio.abs()
    metrics = {"log_prob_gap": float(gap.max()), "log_prob_gap_mean": float(gap.sum())}
    if settings.temperature != 1:
        batch = replace(batch, sampled=before.log_probs.detach())
    elif cap:
        ratio = log_ratio.exp()
        batch = replace(batch, sampled=before.plain, advantages=batch.advantages * ratio.clamp(max=cap))
        metrics |= {"importance_ratio": float(ratio.sum()), "importance_capped": float((ratio > cap).sum())}
    return batch, metrics | {"entropy": -float(batch.sampled.sum())}


def learn(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    steps: Sequence[Sequence[Batch]],
    settings: Settings,
    reference: Callable[[Batch], Tensor] | None = None,
    cap: float = 0.0,
) -> Metrics:
    """Make ``settings.epochs`` rounds of optimizer steps, one on the micro-batches of each of ``steps``.

    Returns the means over the last round (see :func:`objective`), with ``grad_norm`` before it is clipped.
    Of the model before its first step: ``entropy`` of the policy that sampled (nats a token, as its own
    samples tell it), ``log_prob_gap`` and ``log_prob_gap_mean``, the largest and the mean distance of a
    token's log-probability from the one in its message (nats), and with a ``cap``, at temperature 1,
    ``importance_ratio``, the mean ratio that corrects for it, and ``importance_capped``, the share above the
    cap. Raises LearningError for a gradient that is not finite, before it does harm.
    """
    references: dict[int, Tensor] = {}
    played: dict[int, Batch] = {}  # with the log-probabilities of the policy that sampled
    before: Metrics = {}

    def anchor(batch: Batch, reading: Reading) -> None:
        played[id(batch)], told = anchored(batch, reading, settings, cap)
        gap = max(before.get("log_prob_gap", 0.0), told.get("log_prob_gap", 0.0))
        _add(before, told)
        before["log_prob_gap"] = gap

    def backward(batch: Batch) -> Metrics:
        """Add the gradient of a batch's share of the loss; returns its metrics."""
        reading = read(model, batch, settings.temperature, bool(settings.entropy_coef))
        if reference is not None and id(batch) not in references:
            with torch.no_grad():
                references[id(batch)] = reference(batch)
        if id(batch) not in played:
            anchor(batch, reading)
        loss, metrics = objective(
            reading.log_probs, references.get(id(batch)), played[id(batch)], settings, reading.entropies
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return metrics

    if len(steps) > 1:  # the second step's model is not the one that sampled
        with torch.no_grad():
            for batch in chain.from_iterable(steps):
                anchor(batch, read(model, batch, settings.temperature))
    for _ in range(settings.epochs):
        metrics: Metrics = {}
        for batches in steps:
            for batch in batches:
                _add(metrics, backward(batch))
            _add(metrics, {"grad_norm": _step(optimizer, settings.max_norm)})
    metrics = {name: value / len(steps) for name, value in metrics.items()}
    tokens = max(1, sum(len(batch.sampled) for batch in chain.from_iterable(steps)))
    told = {name: value if name == "log_prob_gap" else value / tokens for name, value in before.items()}
    gap = told.get("log_prob_gap_mean" if cap else "log_prob_gap", 0.0)
    if gap > WIDE_GAP:
        logger.warning(
            "sampler and trainer differ by %.3f nats on %s: ratios are off by as much",
            *(gap, "the mean token" if cap else "a token"),
        )
    return {**metrics, "entropy": 0.0, "log_prob_gap_mean": 0.0, **told}


def _add(total: Metrics, metrics: Metrics) -> None:
    for name, value in metrics.items():
        total[name] = total.get(name, 0.0) + value


def _step(optimizer: torch.optim.Optimizer, max_norm: float) -> float:
    """Make an optimizer step; returns the norm of the gradient before it is clipped.

    Raises LearningError where that is not finite, before a weight has changed.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(weights, max_norm))
    if not math.isfinite(norm):
        raise LearningError(
            "the gradient is not a finite number: begin again in another folder with a lower "
            "learning_rate, or a higher kl_coef; best/ holds the model with the best validation"
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def passes(settings: Settings) -> int:
    """How often :func:`learn` reads each token of its episodes, backward passes not counted.

    >>> passes(Settings(epochs=2, minibatches=1, kl_coef=0.001)), passes(Settings(epochs=1, kl_coef=0.0))
    (3, 1)
    """
    return settings.epochs + (settings.minibatches > 1) + bool(settings.kl_coef)
