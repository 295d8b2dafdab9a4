"""The log-probabilities of the tokens that the agent wrote, without all their logits at once.

A vocabulary is wide: the logits of 8,192 tokens over 152,000 words are 5 GB in float32, and as much again for
their gradient. So the last layer is applied to some tokens at a time, and applied anew in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from igpo_gym.agents.training.batches import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGIT_BYTES = 256 << 20
"""How large the logits of one chunk are at most, in float32; a batch below this is one chunk."""


class Reading(NamedTuple):
    """What a model says of the tokens that the agent wrote, [tokens] each."""

    log_probs: Tensor
    """Of the policy that samples: logits over the temperature; in nats."""
    plain: Tensor
    """At temperature 1, without gradient."""
    entropies: Tensor | None
    """Of the policy that samples, in nats; None where nobody asked."""


def read(
    model: PreTrainedModel,
    batch: Batch,
    temperature: float = 1.0,
    entropy: bool = False,
    chunk_bytes: int = LOGIT_BYTES,
) -> Reading:
    """Forward a batch through a model that attends packed (see :mod:`igpo_gym.lm.packed`)."""
    ids = batch.targets
    rows = max(1, chunk_bytes // (4 * model.config.get_text_config().vocab_size))
    if len(ids) <= rows or not _has_plain_head(model):
        return Reading(*_measured(_logits(model, batch), ids, temperature, entropy))
    hidden = _hidden(model, batch)[0, batch.places]
    head = model.get_output_embeddings()

    def measured(hidden: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return _measured(head(hidden), ids, temperature, entropy)

    chunks = [
        _again(measured, some, own)
        for some, own in zip(torch.split(hidden, rows), torch.split(ids, rows), strict=True)
    ]
    log_probs, plain, entropies = zip(*chunks, strict=True)
    return Reading(torch.cat(log_probs), torch.cat(plain), torch.cat(entropies) if entropy else None)


def log_probs(model: PreTrainedModel, batch: Batch, temperature: float = 1.0) -> Tensor:
    """The log-probability of each token that the agent wrote, in nats, with logits over the temperature."""
    return read(model, batch, temperature).log_probs


def chosen_log_probs(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """The log-probability of each id, in nats: [tokens], from logits [tokens, vocabulary].

    >>> chosen_log_probs(torch.zeros(1, 4), torch.tensor([2])).exp().tolist()
    [0.25]
    """
    tempered = logits if temperature == 1 else logits / temperature
    return tempered.gather(1, ids[:, None])[:, 0] - tempered.logsumexp(-1)


def entropies(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The entropy of each distribution, in nats, with logits over the temperature: [tokens].

    >>> entropies(torch.zeros(1, 4)).exp().tolist()
    [4.0...]
    """
    log_p = (logits / temperature).log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def _measured(
    logits: Tensor, ids: Tensor, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    logits = logits.float()
    now = chosen_log_probs(logits, ids, temperature)
    plain = now.detach() if temperature == 1 else chosen_log_probs(logits.detach(), ids)
    return now, plain, entropies(logits, temperature) if entropy else None


def _again(
    work: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor | None]], hidden: Tensor, ids: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Do the work, and do it again in the backward pass: nothing of it is kept in between."""
    if not torch.is_grad_enabled():
        return work(hidden, ids)
    result: tuple[Tensor, Tensor, Tensor | None] = checkpoint(work, hidden, ids, use_reentrant=False)
    return result


def _arguments(batch: Batch) -> dict[str, object]:
    return {
        "input_ids": batch.ids[None],
        "position_ids": batch.packing.positions[None].to(batch.ids.device),
        "use_cache": False,
        "packing": batch.packing,
    }


def _logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """[tokens, vocabulary], where a token of the agent is predicted and nowhere else."""
    logits: Tensor = model(**_arguments(batch), logits_to_keep=batch.places).logits[0]
    return logits


def _hidden(model: PreTrainedModel, batch: Batch) -> Tensor:
    """What the last layer reads: [1, tokens, hidden size]."""
    hidden: Tensor = model.base_model(**_arguments(batch)).last_hidden_state
    return hidden


_PLAIN_HEADS: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def _has_plain_head(model: PreTrainedModel) -> bool:
    """Whether logits are the last layer of the hidden states and nothing else, found out once.

    Some models cap or scale them; their logits are computed as a whole.
    """
    if model not in _PLAIN_HEADS:
        ids = torch.arange(1, 5, device=model.device)[None]
        head = model.get_output_embeddings()
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits
            own = head(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
        _PLAIN_HEADS[model] = torch.allclose(logits, own, rtol=1e-3, atol=1e-3)
    return _PLAIN_HEADS[model]
