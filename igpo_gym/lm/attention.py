"""Attention over one ragged row that holds the new tokens of many transcripts.

A row is divided into spans. The tokens of a span attend to themselves (causally, or along a tree of answers)
and to their span's past, whose keys and values lie in the prefix cache. Nothing is padded, no mask is as wide
as a transcript, and a past is neither copied nor repeated.

transformers calls :func:`segment_attention` once per layer, where a model's config names ``ATTENTION`` as its
attention implementation; a name that the mask registry does not know keeps transformers from building a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import torch
from torch.nn import functional

from igpo_gym.lm.cache import KeyValues

ATTENTION = "igpo_gym_segments"
"""The name under which :func:`segment_attention` is registered with transformers."""

KeyValue: TypeAlias = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive tokens of a row that belong to one transcript."""

    rows: slice
    past: tuple[tuple[KeyValues, int], ...]
    """What the tokens see before themselves: the first so many tokens of each store."""
    mask: torch.Tensor | None = None
    """Added to the scores among the tokens, [tokens, tokens]: 0 where a token sees another, -inf where not.
    None: each sees itself and those before it."""
    store: KeyValues | None = None
    """Where the tokens' keys and values are kept; None: nowhere."""
    offset: int = 0
    """The number of tokens in ``store`` before these."""


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    spans: Sequence[Span] = (),
    **_: object,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers. Query, key and value are [1, heads, tokens, head size].

    Returns [1, tokens, heads, head size].
    """
    layer = module.layer_idx
    assert isinstance(layer, int)
    # The private kernel takes it for granted, unasked, that a head's numbers lie side by side.
    query, key, value = (each if each.stride(-1) == 1 else each.contiguous() for each in (query, key, value))
    for span in spans:  # all of them first: one span's past may be another span of this row
        if span.store is not None:
            span.store.write(layer, span.offset, key[:, :, span.rows], value[:, :, span.rows])
    attend = merged_attention if query.device.type == "cpu" and flash_works() else masked_attention
    out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
    for span in spans:
        own = key[:, :, span.rows], value[:, :, span.rows]
        past = [store.read(layer, length) for store, length in span.past]
        out[:, span.rows] = attend(query[:, :, span.rows], own, past, span.mask, scaling).transpose(1, 2)
    return out, None


def merged_attention(
    query: torch.Tensor,
    own: KeyValue,
    past: Sequence[KeyValue],
    mask: torch.Tensor | None,
    scaling: float | None,
) -> torch.Tensor:
    """Attention to each stretch of keys apart, merged by the log-sum-exp of its scores. Inputs and output
    are [1, heads, tokens, head size].

    With o_i the attention to stretch i alone and l_i the log-sum-exp of its scores, the attention to both is
    o_1 + (o_2 - o_1) * sigmoid(l_2 - l_1).
    """
    out, total = _flash(query, own, mask is None, mask, scaling)
    for stretch in past:
        past_out, past_total = _flash(query, stretch, False, None, scaling)
        share = torch.sigmoid(past_total - total).unsqueeze(-1).to(out.dtype)
        out, total = torch.lerp(out, past_out, share), torch.logaddexp(total, past_total)
    return out


def masked_attention(
    query: torch.Tensor,
    own: KeyValue,
    past: Sequence[KeyValue],
    mask: torch.Tensor | None,
    scaling: float | None,
) -> torch.Tensor:
    """The same as :func:`merged_attention` through PyTorch's public function, which wants the keys in one
    piece.
    """
    key = torch.cat([*(keys for keys, _ in past), own[0]], dim=2)
    value = torch.cat([*(values for _, values in past), own[1]], dim=2)
    tokens, length = query.shape[2], key.shape[2]
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=_causal(tokens, length, query.device)
        if mask is None
        else functional.pad(mask, (length - tokens, 0)),
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _causal(tokens: int, length: int, device: torch.device) -> torch.Tensor:
    """The mask of the last ``tokens`` of ``length`` tokens, each of which sees itself and those before it.

    On CUDA it is one that the fused kernels know by its form. Its module imports torch's compiler, seconds of
    work that no CPU needs.
    """
    if device.type == "cuda":
        from torch.nn.attention.bias import causal_lower_right

        return causal_lower_right(tokens, length)
    return torch.ones(tokens, length, dtype=torch.bool, device=device).tril(length - tokens)


def _flash(
    query: torch.Tensor, stretch: KeyValue, causal: bool, mask: torch.Tensor | None, scaling: float | None
) -> KeyValue:
    """PyTorch's CPU kernel: the attention, and the log-sum-exp of the scores [1, heads, tokens].

    It is a private operator, for no public one gives the log-sum-exp on a CPU; :func:`flash_works` guards it.
    """
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, total = kernel(query, *stretch, 0.0, causal, attn_mask=mask, scale=scaling)
    return out, total


@cache
def flash_works() -> bool:
    """Whether this PyTorch has the CPU kernel with the meaning that is relied on, grouped heads included."""
    generator = torch.Generator().manual_seed(0)

    def normal(heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(1, heads, tokens, 8, generator=generator)

    query, own = normal(4, 3), (normal(2, 3), normal(2, 3))
    past = [(normal(2, 5), normal(2, 5)), (normal(2, 1), normal(2, 1))]
    tree = torch.zeros(3, 3).masked_fill_(torch.tensor([[0, 1, 1], [0, 0, 1], [0, 1, 0]]).bool(), -torch.inf)
    try:
        return all(
            torch.allclose(
                merged_attention(query, own, past, mask, 0.3),
                masked_attention(query, own, past, mask, 0.3),
                atol=1e-5,
            )
            for mask in (None, tree)
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
