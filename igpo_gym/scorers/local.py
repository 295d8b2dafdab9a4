"""The belief scorer on this machine: a causal language model that forwards only what is new."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple

import torch

from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError, SpecError, TranscriptTooLongError
from igpo_gym.scorers.answers import AnswerTree, answer_tree
from igpo_gym.scorers.attention import ATTENTION, Span, segment_attention
from igpo_gym.scorers.cache import KeyValues, PrefixTree, TokenCount
from igpo_gym.scorers.families import attention_function, key_value_layout, shared_view
from igpo_gym.scorers.framing import Framing, Ids
from igpo_gym.scorers.interface import BeliefRequest, ScorerStats
from igpo_gym.scorers.loading import load_model
from igpo_gym.scorers.weights import WeightWatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CACHE_BYTES = 2 << 30
ROW_TOKENS = 4096
"""How many transcript tokens one forward pass takes: bounds its memory, and is enough to keep a GPU busy."""

HISTORY_TOKENS = 1 << 19
"""How many tokens are remembered, ids alone, to tell what an unlimited cache would have forwarded."""

LOGIT_ROWS = 256
"""How many positions' logits are turned to float32 at a time: a vocabulary is wide."""


class Query(NamedTuple):
    """A request in token ids. Equal queries have equal beliefs."""

    context: Ids
    probe: Ids
    answers: tuple[Ids, ...]

    @property
    def tree(self) -> AnswerTree:
        """The probe and the answers as the model reads them."""
        return _answer_tree(self.probe, self.answers)


_answer_tree = lru_cache(maxsize=1024)(answer_tree)


@dataclass(slots=True)
class Row:
    """What one forward pass reads: the new tokens of some transcripts, and trees of answers behind them."""

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    predictors: list[int] = field(default_factory=list)
    """For each answer token, the row's token that predicts it."""
    targets: list[int] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    """Whose answer tokens these are, in order."""

    def add(self, tokens: Sequence[int], positions: Sequence[int]) -> slice:
        """Append tokens; returns where they are."""
        start = len(self.tokens)
        self.tokens += tokens
        self.positions += positions
        return slice(start, len(self.tokens))


class TransformersScorer:
    """Beliefs from a causal language model, with a prefix cache (an ``AnswerScorer``).

    A call forwards each transcript token that the cache does not hold once, however many requests share it,
    and each request's probe and answers once, in as few passes as ``row_tokens`` allows; logits are computed
    where an answer token is predicted and nowhere else. Beliefs are the same with any cache.

    ``model`` may be shared with a policy in training (IGPO proper): it is not changed, not even its attention
    function or its mode, and when an optimiser has changed its weights, or they were loaded, moved or
    replaced, the next call notices and drops the cache. Only a write through ``tensor.data`` goes unseen:
    call :meth:`clear` after one. For a frozen scorer give a copy of the model; :meth:`copy_weights` refreshes
    it.

    Safe to call from many threads; they take turns.

    Raises SpecError if the model's attention or its tokenizer cannot be driven (see ``families`` and
    ``framing``).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        cache_bytes: int = CACHE_BYTES,
        row_tokens: int = ROW_TOKENS,
    ) -> None:
        if cache_bytes < 0 or row_tokens < 1:
            raise SpecError("cache_bytes must be at least 0, and row_tokens at least 1")
        self.framing = Framing(tokenizer)
        self._name = type(model).__name__
        self._longest: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._cache_bytes = cache_bytes
        self._row_tokens = row_tokens
        self._lock = RLock()
        self._source = model
        self._watch = WeightWatch(model)
        self._history = PrefixTree(TokenCount)
        self._stats = ScorerStats()
        self._adopt()
        self._check_attention()

    @classmethod
    def load(
        cls,
        spec: str | Path,
        device: str = "auto",
        dtype: torch.dtype | None = None,
        *,
        cache_bytes: int = CACHE_BYTES,
        row_tokens: int = ROW_TOKENS,
    ) -> TransformersScorer:
        """A scorer from a hub name, a local folder or a GGUF file (see :func:`loading.load_model`)."""
        model, tokenizer = load_model(spec, device, dtype)
        return cls(model, tokenizer, cache_bytes=cache_bytes, row_tokens=row_tokens)

    @property
    def stats(self) -> ScorerStats:
        """What has been done so far."""
        return replace(self._stats, cache_bytes=self._tree.size)

    def copy_weights(self, model: PreTrainedModel) -> None:
        """Take over the weights of ``model``, of the same shapes: a periodically refreshed scorer (TIPS)."""
        with self._lock, torch.no_grad():
            theirs = dict(model.named_parameters())
            for name, weight in self._source.named_parameters():
                weight.copy_(theirs[name])

    def clear(self) -> None:
        """Drop the cache."""
        with self._lock:
            self._tree.clear()
            self._history.clear()

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order.

        Raises ScoringError for an answer without tokens and if the model's numbers are not finite, and
        TranscriptTooLongError for transcripts longer than the model reads.
        """
        with self._lock:
            started = time.perf_counter()
            self._follow_weights()
            queries = [self._query(request) for request in requests]
            self._check_lengths(queries)
            beliefs = self._beliefs(queries)
            self._count(requests=len(requests), seconds=time.perf_counter() - started)
            return [beliefs[query] for query in queries]

    def __deepcopy__(self, memo: object) -> TransformersScorer:
        """The scorer itself: Gymnasium copies an environment's arguments, and a model must not be."""
        return self

    def _adopt(self) -> None:
        """Make a view of the model as it is now, with an empty cache."""
        self._weights = self._watch.state()
        self._model = shared_view(self._source)
        self._layout = layout = key_value_layout(self._model)
        self._tree = PrefixTree(lambda: KeyValues(layout))
        self._history.clear()

    def _follow_weights(self) -> None:
        """Drop what was computed with weights that the model no longer has."""
        before, now = self._weights, self._watch.state()
        if now.places != before.places:
            self._adopt()
        elif now != before:
            self._weights = now
            self.clear()

    def _count(self, **amounts: float) -> None:
        totals = {name: getattr(self._stats, name) + amount for name, amount in amounts.items()}
        self._stats = replace(self._stats, **totals)

    def _query(self, request: BeliefRequest) -> Query:
        context, probe = self.framing.ids(request.segments), self.framing.text_ids(request.probe.prefix)
        if not probe:  # something must predict the answer's first token
            context, probe = context[:-1], context[-1:]
        answers = tuple(self.framing.text_ids(answer) for answer in request.answers)
        if not (probe and answers and all(answers)):
            raise ScoringError(f"an answer among {request.answers!r}, or all in front of it, has no tokens")
        return Query(context, probe, answers)

    def _check_lengths(self, queries: Sequence[Query]) -> None:
        lengths = [len(query.context) + query.tree.depth for query in queries]
        longest = self._longest or max(lengths, default=0)
        too_long = tuple(place for place, length in enumerate(lengths) if length > longest)
        if too_long:
            raise TranscriptTooLongError(
                f"a transcript with its probe has {lengths[too_long[0]]} tokens, "
                f"but {self._name} reads at most {longest}",
                too_long,
            )

    def _beliefs(self, queries: Sequence[Query]) -> dict[Query, Belief]:
        """The beliefs of all queries, equal ones asked once."""
        pending = deque(dict.fromkeys(queries))
        asked = sum(len(query.context) + len(query.tree.tokens) for query in queries)
        minimum = sum(self._remember(query) for query in pending)
        forwarded = 0
        beliefs: dict[Query, Belief] = {}
        try:
            while pending:
                row = self._next_row(pending)
                beliefs |= self._forward(row)
                forwarded += len(row.tokens)
                unfinished = self._tree.find(pending[0].context)[0] if pending else None
                self._tree.evict(self._cache_bytes, keep=unfinished)
        except BaseException:  # the tree may have nodes whose keys and values were never computed
            self.clear()
            raise
        self._count(tokens_forwarded=forwarded, tokens_reused=asked - forwarded, tokens_minimum=minimum)
        return beliefs

    def _remember(self, query: Query) -> int:
        """How many tokens of the query an unlimited cache would have to forward."""
        node, known = self._history.find(query.context)
        if known < len(query.context):
            self._history.extend(node, known, query.context[known:])
            self._history.evict(HISTORY_TOKENS)
        return len(query.context) - known + len(query.tree.tokens)

    def _next_row(self, pending: deque[Query]) -> Row:
        """The next forward pass, taking the queries that it completes from ``pending``."""
        row = Row()
        while pending:
            query = pending[0]
            node, known = self._tree.find(query.context)
            new = query.context[known : known + max(0, self._row_tokens - len(row.tokens))]
            if new:
                past = self._tree.past(node, known)
                node = self._tree.extend(node, known, new)
                rows = row.add(new, range(known, known + len(new)))
                row.spans.append(Span(rows, past, store=node.store, offset=known - node.start))
            if known + len(new) < len(query.context):
                break
            self._add_answers(row, query, self._tree.past(node, len(query.context)))
            pending.popleft()
            if len(row.tokens) >= self._row_tokens:
                break
        return row

    def _add_answers(self, row: Row, query: Query, past: tuple[tuple[KeyValues, int], ...]) -> None:
        tree = query.tree
        rows = row.add(tree.tokens, [len(query.context) + depth for depth in tree.depths])
        mask = torch.zeros(tree.sees.shape, dtype=self._layout.dtype)
        mask.masked_fill_(~tree.sees, -torch.inf)
        row.spans.append(Span(rows, past, mask.to(self._layout.device)))
        row.predictors += [rows.start + predictor for predictor in tree.predictors]
        row.targets += tree.targets
        row.queries.append(query)

    @torch.no_grad()
    def _forward(self, row: Row) -> dict[Query, Belief]:
        device = self._layout.device
        positions, which = torch.unique(torch.tensor(row.predictors, dtype=torch.long), return_inverse=True)
        with attention_function(self._model, ATTENTION, segment_attention):
            logits = self._model(
                input_ids=torch.tensor([row.tokens], device=device),
                position_ids=torch.tensor([row.positions], device=device),
                use_cache=False,
                logits_to_keep=positions.to(device),
                spans=row.spans,
            ).logits[0]
        if not row.queries:
            return {}
        # log_softmax in float32 errs three times as much as this.
        totals = torch.cat([part.float().logsumexp(-1) for part in logits.split(LOGIT_ROWS)])
        which, targets = which.to(device), torch.tensor(row.targets, device=device)
        log_probs = (logits[which, targets].float() - totals[which]).tolist()
        if not all(map(math.isfinite, log_probs)):
            raise ScoringError(f"{self._name} gave a log-probability that is not a finite number")
        beliefs: dict[Query, Belief] = {}
        start = 0
        for query in row.queries:
            stop = start + len(query.tree.targets)
            beliefs[query] = Belief(query.tree.means(log_probs[start:stop]), query.tree.lengths)
            start = stop
        return beliefs

    @torch.no_grad()
    def _check_attention(self) -> None:
        """Compare a few beliefs with the model's own forward pass: a wrong mask would be silent.

        Raises SpecError if they differ by more than rounding explains.
        """
        vocabulary = self._model.get_input_embeddings().num_embeddings
        ids = tuple(7 * number % vocabulary for number in range(16))
        answers = (ids[10:13], ids[10:12] + ids[:1], ids[13:14])
        first, other, later = (
            Query(context, ids[8:10], answers) for context in (ids[:8], ids[:5] + ids[9:12], ids[:12])
        )
        got = self._beliefs([first, other]) | self._beliefs([later])
        tolerance = 1e-3 if self._layout.dtype in (torch.float32, torch.float64) else 0.1
        for query, belief in got.items():
            for answer, log_prob in zip(answers, belief.log_probs, strict=True):
                expected = self._plain_log_prob(query.context + query.probe, answer)
                if not abs(log_prob - expected) <= tolerance * max(1.0, abs(expected)):
                    raise SpecError(
                        f"{self._name} cannot be a scorer: with a prefix cache it gives {log_prob:.4f} nats "
                        f"where its own forward pass gives {expected:.4f}"
                    )
        self.clear()
        self._stats = ScorerStats()

    def _plain_log_prob(self, context: Ids, answer: Ids) -> float:
        ids = torch.tensor([context + answer], device=self._layout.device)
        logits = self._model(input_ids=ids, use_cache=False).logits[0, len(context) - 1 : -1].float()
        return float(logits.log_softmax(-1).gather(1, ids[0, len(context) :, None]).mean())
