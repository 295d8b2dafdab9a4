"""Sampling many messages at once: one token of each of them in every forward pass.

The transcripts' keys and values come from a reader's prefix cache and are laid side by side, so that the
attention of all new tokens is one call; when a message is complete, those of its tokens go back into the
cache. A message that is complete leaves the batch, so no pass reads a token that nobody waits for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

from igpo_gym.errors import SamplingError
from igpo_gym.lm.cache import KeyValueLayout
from igpo_gym.lm.families import attention_function
from igpo_gym.lm.framing import Ids
from igpo_gym.lm.policy import Sampling
from igpo_gym.lm.reader import CausalReader, Past

DECODING = "igpo_gym_decoding"
"""The name under which :func:`decoding_attention` is registered with transformers."""

LARGEST_UNIFORM = 1 - 2.0**-23
"""So that a uniform number times a float32 sum of probabilities is less than the sum."""


@dataclass(slots=True)
class Draft:
    """A message that is being sampled."""

    context: Ids
    """The transcript in front of it, at least one token."""
    room: int
    """How many tokens it may have, at least one."""
    seed: int
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    """Of ``ids``, under the model itself, in nats."""
    thinking: bool = False
    """Whether it begins within a thought that the chat template has opened."""


class DecodingBatch:
    """The keys and values of transcripts of unlike length, each of which grows by a token at a time.

    ``pasts`` are the keys and values so far, and ``room`` is how many tokens are added to a transcript at
    most.
    """

    def __init__(self, layout: KeyValueLayout, pasts: Sequence[Past], room: int) -> None:
        self.lengths = [sum(length for _, length in past) for past in pasts]
        self._width = max(self.lengths)
        capacity, device = self._width + room, layout.device
        self._layout = layout
        shape = (layout.layers, 2, len(pasts), layout.heads, capacity, layout.head_size)
        self._data = torch.empty(shape, dtype=layout.dtype, device=device)
        self._mask = torch.full((len(pasts), 1, 1, capacity), -torch.inf, dtype=layout.dtype, device=device)
        for row, past in enumerate(pasts):
            start = 0
            for store, length in past:
                self._data[:, :, row, :, start : start + length] = store.stretch(length)
                start += length
            self._mask[row, ..., :start] = 0
            self._data[:, :, row, :, start : self._width] = 0  # masked, but nan and inf would show through

    def __len__(self) -> int:
        return len(self.lengths)

    def stretch(self, row: int) -> torch.Tensor:
        """The keys and values of a transcript: [layers, 2, heads, tokens, head size]."""
        return self._data[:, :, row, :, : self.lengths[row]]

    def drop(self, row: int) -> None:
        """Forget a transcript; the last one takes its row."""
        last, length = len(self) - 1, self.lengths[-1]
        if row != last:
            self._data[:, :, row, :, :length] = self._data[:, :, last, :, :length]
            self._mask[row] = self._mask[last]
            self.lengths[row] = length
        self.lengths.pop()

    def forward(self, reader: CausalReader, tokens: Sequence[int]) -> torch.Tensor:
        """Add a token to each transcript. Returns the logits of the next ones, [transcripts, vocabulary]."""
        device = reader.layout.device
        self._rows = torch.arange(len(self), device=device)
        self._positions = torch.tensor(self.lengths, device=device)
        self.lengths = [length + 1 for length in self.lengths]
        if max(self.lengths) > self._width:
            self._data[:, :, : len(self), :, self._width] = 0
            self._width += 1
        self._mask[self._rows, 0, 0, self._positions] = 0
        with attention_function(reader.view, DECODING, decoding_attention):
            logits: torch.Tensor = reader.view(
                input_ids=torch.tensor([tokens], device=device),
                position_ids=self._positions[None],
                use_cache=False,
                batch=self,
            ).logits[0]
        return logits.float()

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        window: int | None = None,
    ) -> torch.Tensor:
        """The attention of each transcript's new token to all of it, or to its latest ``window`` tokens, and
        to itself, which is one of these.

        Query, key and value are [1, heads, transcripts, head size]; returns [1, transcripts, heads, head
        size]. The query heads that share a key head are folded into one query of several tokens.
        """
        count, width = len(self), max(self.lengths)
        keys, values = self._data[layer, 0, :count], self._data[layer, 1, :count]
        keys[self._rows, :, self._positions] = self._layout.kept(key[0].transpose(0, 1))
        values[self._rows, :, self._positions] = self._layout.kept(value[0].transpose(0, 1))
        mask = self._mask[:count, ..., :width]
        if window is not None and width > window:
            gone = torch.arange(width, device=mask.device) <= self._positions[:, None, None, None] - window
            mask = mask.masked_fill(gone, -torch.inf)
        out = functional.scaled_dot_product_attention(
            query[0].transpose(0, 1).reshape(count, key.shape[1], -1, key.shape[3]),
            keys[:, :, :width],
            values[:, :, :width],
            attn_mask=mask,
            scale=scaling,
        )
        return out.reshape(1, count, query.shape[1], -1)


def decoding_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    batch: DecodingBatch | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers, for a row that holds one token of each transcript of ``batch``.

    Query, key and value are [1, heads, tokens, head size]; returns [1, tokens, heads, head size].
    """
    layer = module.layer_idx
    assert isinstance(layer, int)
    assert batch is not None
    return batch.attend(layer, query, key, value, scaling, sliding_window), None


def pick(logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Draw one token a row: [rows], from logits [rows, vocabulary] and numbers in [0, 1) [rows].

    Temperature, then ``top_k``, then ``top_p`` of what is left, as vLLM and transformers do; tokens that are
    just as likely as the last one that is left stay too. A number falls on a token with its probability when
    the tokens' probabilities are laid end to end (inverse transform sampling).
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probs = logits.softmax(-1)
    if sampling.top_p < 1:
        falling = probs.sort(descending=True).values
        before = falling.cumsum(-1) - falling
        least = falling.masked_fill(before >= sampling.top_p, torch.inf).amin(-1, keepdim=True)
        probs = probs.masked_fill(probs < least, 0)
    ends = probs.cumsum(-1)
    # Out of the vocabulary only where the probabilities are nan, which is for the caller to refuse.
    drawn = torch.searchsorted(ends, uniforms[:, None] * ends[:, -1:], right=True)[:, 0]
    return drawn.clamp(max=logits.shape[-1] - 1)


@torch.no_grad()
def decode(
    reader: CausalReader,
    drafts: Sequence[Draft],
    sampling: Sampling,
    vocabulary: int,
    complete: Callable[[Draft, int], bool],
) -> int:
    """Sample all drafts to their ends. Returns how many tokens of the contexts had to be read for it.

    The reader's lock is held, its cache up to date. Only ids below ``vocabulary`` are drawn. ``complete`` is
    asked whether a message is over with an id that was drawn for it; if the id is not to be part of the
    message, it has taken the id off. Raises SamplingError if the model's numbers are not finite.
    """
    pasts, read = reader.read([draft.context[:-1] for draft in drafts])
    room = max(draft.room for draft in drafts)
    batch = DecodingBatch(reader.layout, pasts, room)
    uniforms = torch.tensor(
        np.stack([np.random.default_rng(draft.seed).random(room, np.float32) for draft in drafts])
    )
    uniforms = uniforms.clamp(max=LARGEST_UNIFORM).to(reader.layout.device)
    rows = list(range(len(drafts)))
    tokens = [draft.context[-1] for draft in drafts]
    for step in range(room):
        logits = batch.forward(reader, tokens)
        drawn = pick(logits[:, :vocabulary], uniforms[rows, step], sampling)
        log_probs = (logits.gather(1, drawn[:, None])[:, 0] - logits.logsumexp(-1)).tolist()
        if not all(map(math.isfinite, log_probs)):
            raise SamplingError(f"{reader.name} gave a log-probability that is not a finite number")
        tokens = drawn.tolist()
        over = []
        for place, (row, token, log_prob) in enumerate(zip(rows, tokens, log_probs, strict=True)):
            draft = drafts[row]
            draft.ids.append(token)
            draft.log_probs.append(log_prob)
            if complete(draft, token) or len(draft.ids) >= draft.room:
                over.append(place)
        for place in reversed(over):
            draft = drafts[rows[place]]
            read_ids = (*draft.context, *draft.ids)[: batch.lengths[place]]
            reader.keep(read_ids, batch.stretch(place))
            batch.drop(place)
            for places in (rows, tokens):
                places[place] = places[-1]
                places.pop()
        if not rows:
            break
    return read
