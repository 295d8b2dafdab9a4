"""Attention over a packed row (see :mod:`igpo_gym.lm.packing`), with gradients.

On a CPU the queries of a stretch are taken a few at a time, each with the keys that it sees and no more: a
causal kernel computes nearly all scores, and throws half of them away. What the last layer does beside
mixing tokens is done where its output is read, and nowhere else.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from igpo_gym.lm.attention import causal_mask, masked_attention
from igpo_gym.lm.packing import Packing, Stretch, pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKED = "igpo_gym_packed"
"""The name under which :func:`packed_attention` is registered with transformers."""


def attend_packed(model: PreTrainedModel) -> None:
    """Let ``model`` attend with :func:`packed_attention` from now on; saved, it is the model that it was.

    Which models can do so is checked where a policy or a scorer is made of them (see
    :mod:`igpo_gym.lm.families`).
    """
    from transformers import AttentionInterface

    chunks_work()  # within a layer that is computed again for its gradient, its own graph would be in the way
    AttentionInterface.register(PACKED, packed_attention)
    model.config._attn_implementation = PACKED
    for layer in model.modules():
        mlp = getattr(layer, "mlp", None)
        if any(map(_is_last, layer.children())) and mlp is not None and _works_by_token(mlp, model):
            where = _WhereRead()
            layer.register_forward_pre_hook(where.begins, with_kwargs=True)
            mlp.register_forward_pre_hook(where.before)
            mlp.register_forward_hook(where.after)


class _WhereRead:
    """Hooks that have the last layer's MLP compute the tokens that a packing wants, and give 0 for others.

    As hooks they are there too when checkpointing computes the layer again. A copy of the model gets one of
    its own.
    """

    def __init__(self) -> None:
        self.rows: Tensor | None = None
        self.tokens = 0

    def begins(self, layer: torch.nn.Module, arguments: object, named: dict[str, Any]) -> None:
        """The layer begins: which tokens are wanted."""
        packing = named.get("packing")
        self.rows = None if packing is None else packing.wanted

    def before(self, mlp: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """What the MLP gets."""
        if self.rows is None:
            return None
        (hidden,) = arguments
        self.tokens = hidden.shape[1]
        return (hidden[:, self.rows],)

    def after(self, mlp: torch.nn.Module, arguments: object, out: Tensor) -> Tensor | None:
        """What it is taken to have said."""
        if self.rows is None:
            return None
        return out.new_zeros(1, self.tokens, out.shape[2]).index_copy(1, self.rows, out)


@torch.no_grad()
def _works_by_token(mlp: torch.nn.Module, model: PreTrainedModel) -> bool:
    """Whether a module tells of a token the same, whatever stands beside it."""
    size = model.config.get_text_config().hidden_size
    hidden = torch.linspace(-1, 1, 3 * size, dtype=model.dtype, device=model.device).view(1, 3, size)
    try:
        return torch.allclose(mlp(hidden)[:, 1:2], mlp(hidden[:, 1:2]), rtol=1e-2, atol=1e-3)
    except (AttributeError, IndexError, RuntimeError, TypeError):  # it takes or gives more than hidden states
        return False


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    packing: Packing | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """An attention function of transformers: each token of a packed row attends to its transcript up to it.

    Query, key and value are [1, heads, tokens, head size]; returns [1, tokens, heads, head size]. Without
    ``packing``, rows are what they are in any causal model. In a layer with a ``sliding_window`` a token sees
    so many tokens, itself included.
    """
    longest = query.shape[2] if packing is None else max(each.stop for each in packing.stretches)
    window = sliding_window if sliding_window is not None and longest > sliding_window else None
    if packing is None:
        tokens, grouped = query.shape[2], query.shape[1] != key.shape[1]
        sees = None if window is None else causal_mask(tokens, tokens, query.device, window)
        out = functional.scaled_dot_product_attention(
            query, key, value, sees, is_causal=sees is None, scale=scaling, enable_gqa=grouped
        )
    elif window is not None:
        out = stretched_attention(query, key, value, packing, scaling, window)
    elif query.device.type == "cpu" and chunks_work():
        out = chunked_attention(query, key, value, packing, scaling, _is_last(module))
    else:
        out = stretched_attention(query, key, value, packing, scaling)
    return out.transpose(1, 2).contiguous(), None


def stretched_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing,
    scaling: float | None,
    window: int | None = None,
) -> Tensor:
    """Attention through PyTorch's public function, a call for each stretch.

    Query, key and value are [1, heads, tokens, head size], and so is the result. With a ``window`` a token
    sees so many tokens, itself included.
    """
    stretches = packing.stretches
    if any(stretch.before for stretch in stretches):
        seen = [rows for stretch in stretches for rows in (*stretch.before, stretch.rows)]
        rows = torch.cat([torch.arange(each.start, each.stop) for each in seen]).to(query.device)
        key, value = key[:, :, rows], value[:, :, rows]
    queries = torch.split(query, [stretch.stop - stretch.start for stretch in stretches], dim=2)
    keys, values = (
        torch.split(each, [stretch.stop for stretch in stretches], dim=2) for each in (key, value)
    )
    out = []
    for own, known, shown in zip(queries, keys, values, strict=True):
        sees = None
        if window is not None:
            sees = causal_mask(own.shape[2], known.shape[2], query.device, window)
        out.append(masked_attention(own, (known, shown), (), None, scaling, sees))
    return torch.cat(out, dim=2)


def chunked_attention(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, last: bool = False
) -> Tensor:
    """The same on a CPU; where it is the ``last`` layer's, 0 for the rows that the packing does not want."""
    query, key, value = map(_side_by_side, (query, key, value))
    if not last or packing.wanted is None:
        out: Tensor = _Chunked.apply(query, key, value, packing, scaling, False)  # type: ignore[no-untyped-call]
        return out
    wanted = query[:, :, packing.wanted]
    some = _Chunked.apply(wanted, key, value, packing, scaling, True)  # type: ignore[no-untyped-call]
    return torch.zeros_like(query).index_copy(2, packing.wanted, some)


class _Chunked(torch.autograd.Function):
    """Attention a chunk at a time; a chunk's part of the keys' gradient is added to that of the others.

    PyTorch's own would make a gradient as large as all keys for each chunk, and copies of keys that it keeps.
    The kernels are private operators; :func:`chunks_work` guards them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        packing: Packing,
        scaling: float | None,
        wanted: bool,
    ) -> Tensor:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        totals = query.new_empty(query.shape[:3], dtype=torch.promote_types(query.dtype, torch.float32))
        for stretch, chunks in zip(packing.stretches, packing.chunks(query.dtype, wanted), strict=True):
            keys, values = (_transcript(each, stretch) for each in (key, value))
            for chunk in chunks:
                out[:, :, chunk.rows], totals[:, :, chunk.rows] = kernel(
                    query[:, :, chunk.rows],
                    keys[:, :, : chunk.keys],
                    values[:, :, : chunk.keys],
                    attn_mask=chunk.mask,
                    scale=scaling,
                )
        ctx.save_for_backward(query, key, value, out, totals)
        ctx.of = packing, scaling, wanted
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        query, key, value, out, totals = ctx.saved_tensors
        gradient = _side_by_side(gradient)
        packing, scaling, wanted = ctx.of
        of_query = torch.empty_like(query)
        of_key, of_value = (torch.zeros_like(each, dtype=totals.dtype) for each in (key, value))
        for stretch, chunks in zip(packing.stretches, packing.chunks(query.dtype, wanted), strict=True):
            keys, values = (_transcript(each, stretch) for each in (key, value))
            of_keys, of_values = (torch.zeros_like(each, dtype=totals.dtype) for each in (keys, values))
            for chunk in chunks:
                rows, seen = (..., chunk.rows, slice(None)), (..., slice(chunk.keys), slice(None))
                of_query[rows], of_seen, of_shown = kernel(
                    gradient[rows],
                    query[rows],
                    keys[seen],
                    values[seen],
                    out[rows],
                    totals[:, :, chunk.rows],
                    0.0,
                    False,
                    attn_mask=chunk.mask,
                    scale=scaling,
                )
                of_keys[seen] += of_seen
                of_values[seen] += of_shown
            _add(of_key, stretch, of_keys)
            _add(of_value, stretch, of_values)
        return of_query, of_key.to(key.dtype), of_value.to(value.dtype), None, None, None


def _side_by_side(heads: Tensor) -> Tensor:
    """The same with a head's numbers side by side, which the kernels take for granted, unasked."""
    return heads if heads.stride(-1) == 1 else heads.contiguous()


def _transcript(row: Tensor, stretch: Stretch) -> Tensor:
    """What a stretch's transcript has of a row of keys or values, from its beginning to the stretch's end."""
    if not stretch.before:
        return row[:, :, stretch.rows]
    return torch.cat([row[:, :, rows] for rows in (*stretch.before, stretch.rows)], dim=2)


def _add(row: Tensor, stretch: Stretch, transcript: Tensor) -> None:
    """Add what is told of a transcript to the row that it is packed in."""
    start = 0
    for rows in (*stretch.before, stretch.rows):
        stop = start + rows.stop - rows.start
        row[:, :, rows] += transcript[:, :, start:stop]
        start = stop


def _is_last(module: Any) -> bool:
    """Whether an attention module is that of a model's last layer."""
    layer, config = getattr(module, "layer_idx", None), getattr(module, "config", None)
    return layer is not None and config is not None and layer == config.num_hidden_layers - 1


@cache
def chunks_work() -> bool:
    """Whether this PyTorch has the CPU kernels with the meaning that is relied on, grouped heads included."""
    draw = torch.Generator().manual_seed(0)
    packing, _ = pack([np.arange(5), np.array([0, 1, 7])])
    query, key, value = (torch.randn(1, heads, 6, 8, generator=draw) for heads in (4, 2, 2))
    told = []
    try:
        # It may be asked for the first time where no gradient is wanted.
        with torch.inference_mode(False), torch.enable_grad():
            tensors = [each.clone().requires_grad_() for each in (query, key, value)]
            for way in (chunked_attention, stretched_attention):
                out = way(tensors[0], tensors[1], tensors[2], packing, 0.3)
                told.append([out, *torch.autograd.grad(out.square().sum(), tensors)])
    except (AttributeError, RuntimeError, TypeError):
        return False
    return all(torch.allclose(ours, theirs, atol=1e-4) for ours, theirs in zip(*told, strict=True))
