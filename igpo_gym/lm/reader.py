"""A causal language model that reads each token once: what the scorer and the sampler share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import RLock
from typing import TYPE_CHECKING, TypeAlias

import torch

from igpo_gym.errors import SpecError
from igpo_gym.lm.attention import ATTENTION, Span, segment_attention
from igpo_gym.lm.cache import KeyValues, Node, PrefixTree
from igpo_gym.lm.families import (
    attention_function,
    compile_between_attention,
    key_value_layout,
    own_precision,
)
from igpo_gym.lm.framing import Ids
from igpo_gym.lm.weights import WeightWatch
from igpo_gym.lm.wrappers import settle_adapters, shared_view, unwrapped

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CACHE_BYTES = 2 << 30
ROW_TOKENS = 4096
"""How many transcript tokens one forward pass takes: bounds its memory, and is enough to keep a GPU busy."""

Past: TypeAlias = "tuple[tuple[KeyValues, int], ...]"
"""The keys and values of a token sequence: the first so many tokens of each store."""


@dataclass(slots=True)
class ReadRow:
    """What one forward pass reads: new tokens of some transcripts, and whatever branches off behind them."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    nodes: set[Node[KeyValues]] = field(default_factory=set)
    """Where the cache holds what the tokens see; their ancestors are held with them."""

    def add(self, tokens: Sequence[int], positions: Sequence[int]) -> slice:
        """Append tokens; returns where they are."""
        start = len(self.tokens)
        self.tokens += tokens
        self.positions += positions
        return slice(start, len(self.tokens))


class CausalReader:
    """A causal language model with a prefix cache of at most ``cache_bytes`` between calls.

    ``model`` may be shared with a trainer: it is not changed, not even its attention function or its mode. It
    may be wrapped (see ``wrappers``); ``self.model`` is the one inside, with its adapters. When its weights
    have changed, or its adapters or forward hooks (see ``weights``), :meth:`refresh` drops the cache. A
    forward pass takes ``row_tokens`` transcript tokens at most. ``cache_dtype`` keeps keys and values in
    another dtype than they are computed in; ``compile`` lets torch.compile fuse what stands between the
    matrix products.

    Whoever uses it holds ``lock`` from :meth:`refresh` to :meth:`evict`, and calls :meth:`clear` if anything
    is raised in between: the cache may then hold tokens whose keys and values were never computed.

    Raises SpecError if the model's attention cannot be replaced (see ``families``), and for wrappers that one
    process cannot see through.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        cache_bytes: int = CACHE_BYTES,
        row_tokens: int = ROW_TOKENS,
        cache_dtype: torch.dtype | None = None,
        compile: bool = False,
    ) -> None:
        if cache_bytes < 0 or row_tokens < 1:
            raise SpecError("cache_bytes must be at least 0, and row_tokens at least 1")
        self.model = unwrapped(model)
        self.name = type(self.model).__name__
        config = self.model.config.get_text_config()
        self.longest: int | None = getattr(config, "max_position_embeddings", None) or None
        """How many tokens the model reads, if it tells."""
        self.cache_bytes = cache_bytes
        self.row_tokens = row_tokens
        self._cache_dtype = cache_dtype
        self._compile = compile
        self.lock = RLock()
        self.drops = 0
        """How often the cache was dropped."""
        self._watch = WeightWatch(self.model)
        self._adopt()

    def _adopt(self) -> None:
        """Make a view of the model as it is now, with an empty cache. Changes nothing where it raises."""
        settle_adapters(self.model)
        weights = self._watch.state()
        view = shared_view(unwrapped(self.model))
        if self._compile:
            compile_between_attention(view)
        layout = replace(key_value_layout(view), stored_dtype=self._cache_dtype)
        self.view, self.layout, self._weights = view, layout, weights
        self._tree = PrefixTree(lambda: KeyValues(layout))
        self.drops += 1

    @property
    def size(self) -> int:
        """Bytes that the cache holds."""
        return self._tree.size

    @property
    def rows(self) -> int:
        """For how many tokens the model has an embedding."""
        return len(self.view.get_input_embeddings().weight)

    def trial_ids(self, count: int) -> Ids:
        """Token ids to try the model with. That of padding is none of them: some models count it as no
        position, so that a trial which begins with it says nothing about their positions."""
        padding = getattr(self.view.config.get_text_config(), "pad_token_id", None)
        ids = (7 * number % self.rows for number in range(2 * count))
        return tuple(islice((number for number in ids if number != padding), count))

    def clear(self) -> None:
        """Drop the cache."""
        with self.lock:
            self._tree.clear()
            self.drops += 1

    def refresh(self) -> None:
        """Drop what was computed with weights that the model no longer has."""
        settle_adapters(self.model)
        before, now = self._weights, self._watch.state()
        if any(getattr(now, part) != getattr(before, part) for part in ("places", "settings", "hooks")):
            self._adopt()
        elif now != before:
            self._weights = now
            self.clear()

    def take(self, row: ReadRow, context: Ids) -> Past | None:
        """Let ``row`` read what is new in ``context``, as far as it has room.

        Returns the context's keys and values, which are there once the row is forwarded; None if some of the
        context is left for another row.
        """
        node, known = self._tree.find(context)
        new = context[known : known + max(0, self.row_tokens - len(row.tokens))]
        if new:
            past = self._tree.past(node, known)
            node = self._tree.extend(node, known, new)
            rows = row.add(new, range(known, known + len(new)))
            row.spans.append(Span(rows, past, store=node.store, offset=known - node.start))
        row.nodes.add(node)
        return self._tree.past(node, len(context)) if known + len(new) == len(context) else None

    @torch.no_grad()
    def forward(self, row: ReadRow, predictors: torch.Tensor) -> torch.Tensor:
        """Read a row. Returns the logits at its places ``predictors``, [predictors, vocabulary]."""
        device = self.layout.device
        self._tree.evict(self.cache_bytes, keep=row.nodes)  # before the pass needs memory of its own
        with attention_function(self.view, ATTENTION, segment_attention):
            logits: torch.Tensor = self.view(
                input_ids=torch.tensor([row.tokens], device=device),
                position_ids=torch.tensor([row.positions], device=device),
                use_cache=False,
                logits_to_keep=predictors.to(device),
                spans=row.spans,
            ).logits[0]
        return logits

    def read(self, contexts: Sequence[Ids]) -> tuple[list[Past], int]:
        """Read what is new in the contexts, and return their keys and values, and how many tokens were read.

        The keys and values stay what they are while they are referred to, even if they are evicted.
        """
        pasts: list[Past] = []
        row, tokens = ReadRow(), 0
        for context in contexts:
            while (past := self.take(row, context)) is None:
                tokens += self._read(row)
                row = ReadRow()
            pasts.append(past)
        return pasts, tokens + self._read(row)

    def _read(self, row: ReadRow) -> int:
        if row.tokens:
            self.forward(row, torch.empty(0, dtype=torch.long))
        return len(row.tokens)

    def keep(self, context: Ids, key_values: torch.Tensor) -> None:
        """Add keys and values that were computed elsewhere, those of all the context's tokens:
        [layers, 2, heads, tokens, head size]."""
        node, known = self._tree.find(context)
        if known < len(context):
            node = self._tree.extend(node, known, context[known:])
            node.store.fill(known - node.start, key_values[:, :, :, known:])

    def known(self, context: Ids) -> int:
        """How many of the context's tokens the cache holds."""
        return self._tree.find(context)[1]

    def evict(self, waiting: Sequence[Ids] = ()) -> None:
        """Bring the cache within its budget, but for what it knows of the first of the ``waiting`` contexts.

        What it knows of the others is forgotten after all else, from here on, and the last of them first.
        """
        nodes = [self._tree.find(context)[0] for context in reversed(waiting)]
        self._tree.evict(self.cache_bytes, keep=nodes[-1:])

    def check(self, role: str, found: float, plain: float) -> None:
        """Compare a log-probability with that of :func:`plain_log_probs`: a wrong mask would be silent.

        Raises SpecError, as of a model that cannot be a ``role``, if they differ by more than rounding
        explains.
        """
        fine = {self.layout.dtype, self.layout.stored_dtype} <= {torch.float32, torch.float64, None}
        if not abs(found - plain) <= (1e-3 if fine else 0.1) * max(1.0, abs(plain)):
            raise SpecError(
                f"{self.name} cannot be a {role}: with a prefix cache it gives {found:.4f} nats where its "
                f"own forward pass gives {plain:.4f}"
            )


@torch.no_grad()
def plain_log_probs(model: PreTrainedModel, context: Sequence[int], ids: Sequence[int]) -> list[float]:
    """The log-probabilities of ``ids`` after ``context``, in nats, by a model's own pass over all of them."""
    tokens = torch.tensor([[*context, *ids]], device=model.device)
    with own_precision(model):
        logits = model(input_ids=tokens, use_cache=False).logits[0, len(context) - 1 : -1].float()
    log_probs: list[float] = logits.log_softmax(-1).gather(1, tokens[0, len(context) :, None])[:, 0].tolist()
    return log_probs
