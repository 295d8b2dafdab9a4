"""A Llama for training: the same mathematics and parameter names as transformers' LlamaForCausalLM, no more.

Written out because training packs answer branches into a row under a mask of its own, and because the plain
form is a third faster on a CPU. What it saves loads with AutoModelForCausalLM; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama with tied embeddings."""

    vocabulary: int = 1024
    width: int = 128
    layers: int = 8
    heads: int = 4
    feedforward: int = 352
    rope_base: float = 10000.0
    positions: int = 4096

    def config(self, bos: int, eos: int, pad: int) -> dict[str, Any]:
        """The arguments of transformers' LlamaConfig for this shape."""
        return {
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.feedforward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "max_position_embeddings": self.positions,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_base},
            "tie_word_embeddings": True,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": pad,
        }

    def as_dict(self) -> dict[str, Any]:
        """The sizes by name."""
        return asdict(self)


class Norm(nn.Module):
    """Root-mean-square normalization with a learned scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last dimension."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, 1e-5)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Attend within each row of ``x`` (rows, length, width); see :meth:`Llama.forward` for the mask."""
        rows, length, width = x.shape
        q, k, v = (
            project(x).view(rows, length, self.heads, width // self.heads).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        attend = functional.scaled_dot_product_attention
        plain = length - mask.shape[2]
        trunk = attend(q[:, :, :plain], k[:, :, :plain], v[:, :, :plain], is_causal=True)
        mixed = (
            torch.cat([trunk, attend(q[:, :, plain:], k, v, attn_mask=mask)], 2) if plain < length else trunk
        )
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(rows, length, width))
        return out


class FeedForward(nn.Module):
    """The gated feed-forward part."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.feedforward, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.feedforward, bias=False)
        self.down_proj = nn.Linear(shape.feedforward, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Position by position."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = Norm(shape.width)
        self.post_attention_layernorm = Norm(shape.width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """Attention, then feed-forward, each added to the stream."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Llama(nn.Module):
    """The whole model. Its parameters bear LlamaForCausalLM's names under the prefix ``model.``."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        size = shape.width // shape.heads
        frequencies = shape.rope_base ** (-torch.arange(0, size, 2).float() / size)
        self.frequencies: Tensor
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Hidden states (rows, length, width) of token ids at the given positions.

        ``mask`` is additive, (rows, 1, branch tokens, length), and stands for the last tokens of each row
        alone: those before them are plain text, where each token sees those before it.
        """
        angles = positions[..., None].float() * self.frequencies
        angles = torch.cat([angles, angles], -1)[:, None]
        cos, sin = angles.cos(), angles.sin()
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """The next token's logits at hidden states."""
        return hidden @ self.embed_tokens.weight.T


def initialize(model: Llama, generator: torch.Generator) -> None:
    """Mimetic initialization (Trockman and Kolter, 2305.09828): attention begins as matching and copying.

    Keys begin close to queries, so a token looks for its own kind; the output projection begins close to the
    transpose of an orthogonal value projection, so what is found is passed on as it is. Without this a small
    model did not begin to read within millions of tokens.
    """
    width, depth = model.shape.width, model.shape.layers

    def normal(weight: Tensor, std: float) -> Tensor:
        return torch.randn(weight.shape, generator=generator) * std

    with torch.no_grad():
        model.embed_tokens.weight.copy_(normal(model.embed_tokens.weight, 0.02))
        for layer in cast("Iterable[Layer]", model.layers):
            attention, mlp = layer.self_attn, layer.mlp
            query = normal(attention.q_proj.weight, width**-0.5)
            orthogonal = torch.linalg.qr(normal(attention.v_proj.weight, 1.0))[0]
            attention.q_proj.weight.copy_(query)
            attention.k_proj.weight.copy_(0.7 * query + 0.7 * normal(query, width**-0.5))
            attention.v_proj.weight.copy_(orthogonal)
            attention.o_proj.weight.copy_(0.4 * orthogonal.T)
            mlp.gate_proj.weight.copy_(normal(mlp.gate_proj.weight, width**-0.5))
            mlp.up_proj.weight.copy_(normal(mlp.up_proj.weight, width**-0.5))
            down = (mlp.down_proj.weight.shape[1] * 2 * depth) ** -0.5
            mlp.down_proj.weight.copy_(normal(mlp.down_proj.weight, down))
