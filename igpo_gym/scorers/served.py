"""A scorer at work for many callers at once, whose weights may change between two batches."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from igpo_gym.batching import Batches
from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError, SpecError, TranscriptTooLongError
from igpo_gym.scorers.belief_wire import WireRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.prompts import Query, query_behind, query_of
from igpo_gym.scorers.pushed import load_like

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_ANSWER_TOKENS = 1 << 14
"""How many tokens the answers of a request may have together."""

CHARACTERS = 64
"""How many characters a token may have, generously."""


class EndedError(ScoringError):
    """Whoever served a scorer ends, and asks it no more."""

    def __init__(self) -> None:
        super().__init__("the server ends; come back later")


@dataclass(frozen=True, slots=True)
class ToldBelief:
    """What a request is told: a belief, or why there is none; and by which version of the weights."""

    version: str
    belief: Belief | None = None
    too_long: str = ""
    wrong: str = ""
    tokens: int = 0
    """How many its transcript and its answers have."""


class ServedScorer:
    """A scorer and the version of its weights, at work for many callers.

    One thread asks the scorer, in batches of what all callers want. Weights change between two batches, so
    that all beliefs of one order are of one version.
    """

    def __init__(self, scorer: TransformersScorer) -> None:
        self.scorer = scorer
        self._start = secrets.token_hex(4)  # a server that starts anew has other versions
        self._pushed = 0
        self._taken: WeakSet[PreTrainedModel] = WeakSet()
        self._ends = threading.Event()
        self.batches: Batches[WireRequest | PreTrainedModel, ToldBelief] = Batches(
            self._answer, closed=EndedError, name="igpo_gym-beliefs"
        )

    @property
    def version(self) -> str:
        """The version of the weights."""
        return f"{self._start}-{self._pushed}"

    @property
    def pushed(self) -> int:
        """How often weights were pushed."""
        return self._pushed

    def end(self) -> None:
        """Give up the batch at work before its next forward pass, and wait until then."""
        self._ends.set()
        self.batches.close()

    def _go_on(self) -> None:
        if self._ends.is_set():
            raise EndedError

    async def ask(self, asked: Sequence[WireRequest]) -> list[ToldBelief]:
        """What each request is told, all by one version."""
        return await asyncio.wrap_future(self.batches.place(asked))

    async def push(self, folder: Path) -> str:
        """Take the weights of a folder; returns their version. Raises SpecError where they do not fit."""
        model = await asyncio.to_thread(load_like, self.scorer.reader.model, folder)
        (told,) = await asyncio.wrap_future(self.batches.place([model]))
        return told.version

    def _answer(self, batch: Sequence[WireRequest | PreTrainedModel]) -> list[ToldBelief]:
        for each in batch:
            # A batch that failed comes again.
            if not isinstance(each, WireRequest) and each not in self._taken:
                self.scorer.copy_weights(each)
                self._taken.add(each)
                self._pushed += 1
        told = [ToldBelief(self.version)] * len(batch)
        queries: dict[int, Query] = {}
        for place, each in enumerate(batch):
            if isinstance(each, WireRequest):
                try:
                    queries[place] = self._query(each)
                except (SpecError, ScoringError) as problem:
                    told[place] = ToldBelief(self.version, wrong=str(problem))
        # Transcripts that begin alike are read next to each other, so that a full cache forgets none between.
        places = sorted(queries, key=lambda place: (_session(batch[place]), queries[place].context))
        try:
            beliefs = self.scorer.answer([queries[place] for place in places], self._go_on)
        except TranscriptTooLongError as problem:  # raised before anything is read
            for number, words in zip(problem.requests, problem.problems, strict=True):
                told[places[number]] = ToldBelief(self.version, too_long=words)
            places = [place for number, place in enumerate(places) if number not in problem.requests]
            beliefs = self.scorer.answer([queries[place] for place in places], self._go_on)
        for place, belief in zip(places, beliefs, strict=True):
            tokens = len(queries[place].context) + sum(len(each.ids) for each in queries[place].answers)
            told[place] = ToldBelief(self.version, replace(belief, weights=self.version), tokens=tokens)
        return told

    def _query(self, asked: WireRequest) -> Query:
        request = asked.request
        probe = len(request.probe.prefix) + len(request.probe.suffix)
        characters = sum(probe + len(answer) for answer in request.answers)
        if characters > CHARACTERS * MAX_ANSWER_TOKENS:  # before the tokenizer takes its time
            raise SpecError(f"the answers, each with its probe, have {characters:,} characters together")
        query = self._framed(asked)
        tokens = sum(len(answer.before) + len(answer.ids) for answer in query.answers)
        if tokens > MAX_ANSWER_TOKENS:  # what each of them sees takes memory by their square
            raise SpecError(
                f"the answers, each with its probe, have {tokens} tokens together, and {MAX_ANSWER_TOKENS} "
                "are the most"
            )
        return query

    def _framed(self, asked: WireRequest) -> Query:
        if asked.ids is None:
            return query_of(self.scorer.framing, asked.request)
        rows = self.scorer.reader.rows
        if not asked.ids or max(asked.ids) >= rows:
            raise SpecError(f"ids must be token ids from 0 to {rows - 1}, at least one")
        return query_behind(self.scorer.framing, asked.ids, asked.request)


def _session(asked: WireRequest | PreTrainedModel) -> str:
    return asked.session if isinstance(asked, WireRequest) else ""
