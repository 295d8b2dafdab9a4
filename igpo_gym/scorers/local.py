"""The belief scorer on this machine: a causal language model that forwards only what is new."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError
from igpo_gym.lm.attention import Span
from igpo_gym.lm.cache import PrefixTree, TokenCount
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.loading import load_model
from igpo_gym.lm.reader import CACHE_BYTES, ROW_TOKENS, CausalReader, Past, ReadRow, plain_log_probs
from igpo_gym.lm.wrappers import copy_weights
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.answer_tree import AnswerTree, answer_tree
from igpo_gym.scorers.interface import BeliefRequest, ScorerStats
from igpo_gym.scorers.prompts import AnswerIds, Query, check_lengths, check_probe, length_of, query_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HISTORY_TOKENS = 1 << 19
"""How many tokens are remembered, ids alone, to tell what an unlimited cache would have forwarded."""

LOGIT_ROWS = 256
"""How many positions' logits are turned to float32 at a time: a vocabulary is wide."""


tree_of = lru_cache(maxsize=1024)(answer_tree)

REMEMBERED_TREE = 256
"""How many tokens a tree may have whose :attr:`AnswerTree.sees` is remembered: it grows by their square."""


@lru_cache(maxsize=1024)
def _remembered_sees(tree: AnswerTree) -> torch.Tensor:
    return tree.sees


@dataclass(slots=True)
class AskedRow:
    """What a row is asked: answer tokens in the trees of some queries."""

    predictors: list[int] = field(default_factory=list)
    """For each answer token, the row's token that predicts it."""
    targets: list[int] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    """Whose answer tokens these are, in order."""


class TransformersScorer:
    """Beliefs from a causal language model, with a prefix cache (an ``AnswerScorer``).

    A call forwards each transcript token that the cache does not hold once, however many requests share it,
    and each request's probe and answers once, in as few passes as ``row_tokens`` allows; logits are computed
    where an answer token is predicted and nowhere else. Beliefs are the same with any cache.

    ``model`` may be shared with a policy in training (IGPO proper): it is not changed, not even its attention
    function or its mode, and when an optimizer has changed its weights, or they were loaded, moved or
    replaced, or a forward hook was added or removed, the next call notices and drops the cache. A write
    through ``tensor.data`` of a few numbers alone goes unseen, and so does what a hook changes in itself:
    call :meth:`clear` after one. For a frozen scorer give a copy of the model; :meth:`copy_weights` refreshes
    it.

    Safe to call from many threads; they take turns.

    ``cache_dtype`` keeps the cache's keys and values in another dtype: float16 holds twice the tokens of
    float32 and moves a probability by some 3e-5, bfloat16 by 7e-4. ``compile`` lets torch.compile fuse what
    stands between the matrix products; it takes most of a minute once, and needs a C++ compiler on a CPU.

    Raises SpecError if the model's attention or its tokenizer cannot be driven (see ``families`` and
    ``framing``).

    >>> from igpo_gym.episode import Segment
    >>> from igpo_gym.protocols import ANSWER_PROBE
    >>> scorer = TransformersScorer.load("nano", device="cpu")
    >>> prompt = Segment("environment", "user", "Where is Danzig?")
    >>> (belief,) = scorer.score([BeliefRequest((prompt,), ("Poland", "in Poland"), ANSWER_PROBE)])
    >>> len(belief.log_probs), 0 < belief.prob < 1, scorer.stats.requests
    (2, True, 1)
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        cache_bytes: int = CACHE_BYTES,
        row_tokens: int = ROW_TOKENS,
        cache_dtype: torch.dtype | None = None,
        compile: bool = False,
    ) -> None:
        self.reader = CausalReader(
            model,
            cache_bytes=cache_bytes,
            row_tokens=row_tokens,
            cache_dtype=cache_dtype,
            compile=compile,
        )
        """What the model has read; a policy of the same model may share it."""
        self.framing = Framing(tokenizer)
        self.framing.check_rows(self.reader.name, self.reader.rows)
        check_probe(self.framing, ANSWER_PROBE.prefix)
        self._history = PrefixTree(TokenCount)
        self._drops = self.reader.drops
        self._stats = ScorerStats()
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
        cache_dtype: torch.dtype | None = None,
        compile: bool = False,
    ) -> TransformersScorer:
        """A scorer from a hub name, a local folder or a GGUF file (see :func:`loading.load_model`)."""
        model, tokenizer = load_model(spec, device, dtype)
        return cls(
            model,
            tokenizer,
            cache_bytes=cache_bytes,
            row_tokens=row_tokens,
            cache_dtype=cache_dtype,
            compile=compile,
        )

    @property
    def stats(self) -> ScorerStats:
        """What has been done so far."""
        return replace(self._stats, cache_bytes=self.reader.size)

    def copy_weights(self, model: torch.nn.Module) -> None:
        """Take over the weights of ``model``, of the same shapes: a periodically refreshed scorer (TIPS).

        ``model`` may be wrapped (DDP, torch.compile, FSDP2 if every process calls this), and its adapters
        that are on are merged in. Raises SpecError, by name, for a weight that is missing, left over or of
        another shape; nothing is changed then.
        """
        with self.reader.lock:
            copy_weights(self.reader.model, model)

    def clear(self) -> None:
        """Drop the cache."""
        self.reader.clear()

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order.

        Raises ScoringError for an answer without tokens and if the model's numbers are not finite, and
        TranscriptTooLongError for transcripts longer than the model reads.
        """
        with self.reader.lock:
            queries = [query_of(self.framing, request) for request in requests]
            return self.answer(queries)

    def answer(
        self, queries: Sequence[Query], before_pass: Callable[[], object] | None = None
    ) -> list[Belief]:
        """As :meth:`score`, for requests in token ids.

        ``before_pass`` is called before each forward pass; whatever it raises ends the call.
        """
        with self.reader.lock:
            started = time.perf_counter()
            self.reader.refresh()
            # The model reads all but the last token of an answer.
            lengths = [length_of(query) - 1 for query in queries]
            check_lengths(lengths, self.reader.longest, self.reader.name)
            beliefs = self._beliefs(queries, before_pass)
            self._stats = self._stats.plus(requests=len(queries), seconds=time.perf_counter() - started)
            return [beliefs[query] for query in queries]

    def __deepcopy__(self, memo: object) -> TransformersScorer:
        """The scorer itself: Gymnasium copies an environment's arguments, and a model must not be."""
        return self

    def _beliefs(
        self, queries: Sequence[Query], before_pass: Callable[[], object] | None = None
    ) -> dict[Query, Belief]:
        """The beliefs of all queries, equal ones asked once."""
        # What the cache holds most of comes first: later, it might be forgotten.
        pending = deque(sorted(dict.fromkeys(queries), key=lambda query: -self.reader.known(query.context)))
        if self._drops != self.reader.drops:
            self._history.clear()
            self._drops = self.reader.drops
        asked = sum(len(query.context) + len(tree_of(query.answers).tokens) for query in queries)
        minimum = sum(self._remember(query) for query in pending)
        forwarded = 0
        beliefs: dict[Query, Belief] = {}
        try:
            while pending:
                if before_pass is not None:
                    before_pass()
                self.reader.evict([query.context for query in pending])
                row, asked_of = self._next_row(pending)
                beliefs |= self._forward(row, asked_of)
                forwarded += len(row.tokens)
            self.reader.evict()
        except BaseException:
            self.clear()
            raise
        self._stats = self._stats.plus(
            tokens_forwarded=forwarded, tokens_reused=asked - forwarded, tokens_minimum=minimum
        )
        return beliefs

    def _remember(self, query: Query) -> int:
        """How many tokens of the query an unlimited cache would have to forward."""
        node, known = self._history.find(query.context)
        if known < len(query.context):
            self._history.extend(node, known, query.context[known:])
            self._history.evict(HISTORY_TOKENS)
        return len(query.context) - known + len(tree_of(query.answers).tokens)

    def _next_row(self, pending: deque[Query]) -> tuple[ReadRow, AskedRow]:
        """The next forward pass, taking the queries that it completes from ``pending``."""
        row, asked = ReadRow(), AskedRow()
        while pending and (past := self.reader.take(row, pending[0].context)) is not None:
            self._add_answers(row, asked, pending.popleft(), past)
            if len(row.tokens) >= self.reader.row_tokens:
                break
        return row, asked

    def _add_answers(self, row: ReadRow, asked: AskedRow, query: Query, past: Past) -> None:
        layout, tree = self.reader.layout, tree_of(query.answers)
        rows = row.add(tree.tokens, [len(query.context) + depth for depth in tree.depths])
        sees = _remembered_sees(tree) if len(tree.tokens) <= REMEMBERED_TREE else tree.sees
        mask = torch.zeros(sees.shape, dtype=layout.dtype)
        mask.masked_fill_(~sees, -torch.inf)
        row.spans.append(Span(rows, past, mask.to(layout.device), depths=tree.depths))
        asked.predictors += [rows.start + predictor for predictor in tree.predictors]
        asked.targets += tree.targets
        asked.queries.append(query)

    @torch.no_grad()
    def _forward(self, row: ReadRow, asked: AskedRow) -> dict[Query, Belief]:
        positions, which = torch.unique(torch.tensor(asked.predictors, dtype=torch.long), return_inverse=True)
        logits = self.reader.forward(row, positions)
        if not asked.queries:
            return {}
        # log_softmax in float32 errs three times as much as this.
        totals = torch.cat(
            [
                logits[start : start + LOGIT_ROWS].float().logsumexp(-1)
                for start in range(0, len(logits), LOGIT_ROWS)
            ]
        )
        device = logits.device
        which, targets = which.to(device), torch.tensor(asked.targets, device=device)
        log_probs = (logits[which, targets].float() - totals[which]).tolist()
        if not all(map(math.isfinite, log_probs)):
            raise ScoringError(f"{self.reader.name} gave a log-probability that is not a finite number")
        beliefs: dict[Query, Belief] = {}
        start = 0
        for query in asked.queries:
            tree = tree_of(query.answers)
            stop = start + len(tree.targets)
            beliefs[query] = tree.belief(log_probs[start:stop])
            start = stop
        return beliefs

    @torch.no_grad()
    def _check_attention(self) -> None:
        """Compare a few beliefs with the model's own forward pass, as :meth:`CausalReader.check` does."""
        ids = self.reader.trial_ids(16)
        answers = tuple(
            AnswerIds(ids[8:10], answer) for answer in (ids[10:13], ids[10:12] + ids[:1], ids[13:14])
        )
        first, other, later = (
            Query(context, answers) for context in (ids[:8], ids[:5] + ids[9:12], ids[:12])
        )
        got = self._beliefs([first, other]) | self._beliefs([later])
        for query, belief in got.items():
            for answer, log_prob in zip(answers, belief.log_probs, strict=True):
                plain = plain_log_probs(self.reader.view, query.context + answer.before, answer.ids)
                self.reader.check("scorer", log_prob, fmean(plain))
        self.clear()
        self._stats = ScorerStats()
