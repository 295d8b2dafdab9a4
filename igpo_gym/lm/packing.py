"""Attention over one row that holds whole episodes one behind the other, for training.

Nothing is padded, and episodes do not see each other. It differs from the scorer's attention in that
gradients flow through it, and in that nothing is cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

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

    AttentionInterface.register(PACKED, packed_attention)
    model.config._attn_implementation = PACKED


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    lengths: Sequence[int] | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers: causal within each stretch of ``lengths`` tokens.

    Query, key and value are [1, heads, tokens, head size]; returns [1, tokens, heads, head size]. Without
    ``lengths``, rows are what they are in any causal model.
    """
    grouped = query.shape[1] != key.shape[1]
    sizes = list(lengths or (query.shape[2],))
    stretches = zip(*(torch.split(each, sizes, dim=2) for each in (query, key, value)), strict=True)
    out = [
        functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=grouped)
        for q, k, v in stretches
    ]
    return torch.cat(out, dim=2).transpose(1, 2).contiguous(), None
