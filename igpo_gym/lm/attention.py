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
    depths: Sequence[int] | None = None
    """How far behind the past each token stands, where ``mask`` divides them; None: one behind the other."""

    @property
    def start(self) -> int:
        """How many tokens there are before the span's."""
        return sum(length for _, length in self.past)

    @property
    def last(self) -> int:
        """The position of the last token in its transcript."""
        return self.start + (max(self.depths) if self.depths else self.rows.stop - self.rows.start - 1)


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    spans: Sequence[Span] = (),
    sliding_window: int | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers. Query, key and value are [1, heads, tokens, head size].

    In a layer with a ``sliding_window`` a token sees so many tokens, itself included. Returns [1, tokens,
    heads, head size].
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
        if span.store is not None:
            own = span.store.layout.kept(own[0]), span.store.layout.kept(own[1])
        past = [store.read(layer, length) for store, length in span.past]
        if sliding_window is None or span.last < sliding_window:  # the window holds all there is
            found = attend(query[:, :, span.rows], own, past, span.mask, scaling)
        else:
            found = _windowed(query[:, :, span.rows], own, past, span, scaling, sliding_window)
        out[:, span.rows] = found.transpose(1, 2)
    return out, None


def _windowed(
    query: torch.Tensor,
    own: KeyValue,
    past: Sequence[KeyValue],
    span: Span,
    scaling: float | None,
    window: int,
) -> torch.Tensor:
    """The attention of a span, whose tokens see the latest ``window`` tokens of their transcript."""
    first = max(0, span.start - window + 1)  # of the past no token sees more
    seen, skipped = [], first
    for stretch in past:
        if skipped < (length := stretch[0].shape[2]):
            seen.append((stretch[0][:, :, skipped:], stretch[1][:, :, skipped:]))
        skipped = max(0, skipped - length)
    tokens, device = query.shape[2], query.device
    queries = span.start + torch.tensor(span.depths or range(tokens), device=device)
    keys = torch.cat([torch.arange(first, span.start, device=device), queries])
    sees = keys > queries[:, None] - window
    among = causal_mask(tokens, tokens, device) if span.mask is None else span.mask == 0
    sees[:, span.start - first :] &= among
    return masked_attention(query, own, seen, None, scaling, sees)


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
    sees: torch.Tensor | None = None,
) -> torch.Tensor:
    """The same as :func:`merged_attention` through PyTorch's public function, which wants the keys in one
    piece. ``sees`` says of each token and key whether the token sees it, in the place of ``mask``.
    """
    key = torch.cat([*(keys for keys, _ in past), own[0]], dim=2)
    value = torch.cat([*(values for _, values in past), own[1]], dim=2)
    tokens, length = query.shape[2], key.shape[2]
    if sees is None:
        sees = (
            _causal(tokens, length, query.device)
            if mask is None
            else functional.pad(mask, (length - tokens, 0))
        )
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=sees,
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
    return causal_mask(tokens, length, device)


def causal_mask(tokens: int, length: int, device: torch.device, window: int | None = None) -> torch.Tensor:
    """Which of ``length`` tokens the last ``tokens`` see: themselves and those before, ``window`` of them.

    >>> causal_mask(2, 4, torch.device("cpu"), window=2).int().tolist()
    [[0, 1, 1, 0], [0, 0, 1, 1]]
    """
    seen = torch.ones(tokens, length, dtype=torch.bool, device=device).tril(length - tokens)
    return seen if window is None else seen.triu(length - tokens - window + 1)


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
