"""The belief scorer behind a URL: a language model that vLLM, SGLang or another server runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError, SpecError, TranscriptTooLongError, choose
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.served import served_model, served_tokenizer
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.handshake import flaw, probe
from igpo_gym.scorers.interface import BeliefRequest, ScorerStats
from igpo_gym.scorers.prompts import Prompt, Query, belief_of, check_lengths, check_probe, length_of, query_of
from igpo_gym.scorers.wire import DIALECTS, TOO_LONG, Scores, ScoringDialect
from igpo_gym.transport import Server, ServerError, answer_bytes, parallel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_ALIASES = 8
"""About how many of a question's answers a server is asked: it reads the transcript anew for each."""

GENERATED = 1
"""For how many tokens behind a prompt a server wants room, though nobody wants them."""

REFUSED = (400, 413, 422)
"""The statuses of a server that will not read this prompt, now or later."""


class RemoteScorer:
    """Beliefs from a causal language model that a server runs (an ``AnswerScorer``).

    As a spec it is the server's URL, with arguments behind ``#`` where the defaults do not fit:
    ``http://host:8000/v1#tokenizer=Qwen/Qwen2.5-7B-Instruct,kind=vllm``.

    ``url`` is that of the server, with or without ``/v1``. Token ids are sent, one prompt for each answer of
    a request, one HTTP request for all answers of a request, up to ``concurrency`` of them at a time; equal
    requests of a call are sent once. A key that the server wants is taken from ``IGPO_GYM_API_KEY``, or from
    the URL (``http://user:password@host``). For ``timeout`` (seconds), ``retries`` and ``backoff`` see
    :class:`transport.Server`. SGLang reads what it has not read yet; vLLM reads a prompt anew whenever it is
    asked about it, so beliefs after every turn cost it the square of the turns. Of a question with more than
    ``max_aliases`` answers the first ones are asked about, the same in all of its episodes.

    ``model`` is a name that the server knows, needed if it knows several. ``tokenizer`` is the model's, or
    where to load it from: a name on the hub or a local folder; by default the model that the server names.
    ``kind`` is one of ``wire.DIALECTS``, and found out if not given.

    The server is tried out at once. Raises ScoringError if it cannot be reached. Raises SpecError, with the
    reason, if it cannot score: if it takes no token ids, ignores that the prompt is asked about, tells
    log-probabilities that belong to other tokens, or has another tokenizer; and if no tokenizer can be
    loaded.

    Safe to call from many threads. Copies are the scorer itself.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
        kind: str | None = None,
        timeout: float = 120.0,
        retries: int = 4,
        backoff: float = 0.5,
        concurrency: int = 16,
        max_aliases: int = MAX_ALIASES,
    ) -> None:
        if max_aliases < 1:
            raise SpecError(f"max_aliases={max_aliases} must be at least 1")
        dialects = DIALECTS if kind is None else {kind: choose(DIALECTS, kind, "kind of server")}
        self._server = Server(url, timeout=timeout, retries=retries, backoff=backoff, concurrency=concurrency)
        self._concurrency = concurrency
        self.max_aliases = max_aliases
        self._lock = Lock()
        self._stats = ScorerStats()
        try:
            served = served_model(self._server, model)
            self.model = served.name
            self.longest = None if served.longest is None else served.longest - GENERATED
            """How many tokens a transcript with its probe and an answer may have, if the server tells."""
            tokenizer = served_tokenizer(self._server, served, tokenizer)
            self.framing = Framing(tokenizer)
            check_probe(self.framing, ANSWER_PROBE.prefix)
            self._dialect = self._find_dialect(dialects.values(), tokenizer)
        except ServerError as problem:
            self.close()
            raise ScoringError(str(problem)) from None
        except BaseException:
            self.close()
            raise

    @property
    def kind(self) -> str:
        """The kind of server: the name of its dialect."""
        return self._dialect.name

    @property
    def stats(self) -> ScorerStats:
        """What has been done so far. ``tokens_forwarded`` are those sent; how many of them the server has
        cached is its own affair, so the counts of reuse stay 0."""
        return self._stats

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order.

        Raises TranscriptTooLongError for transcripts longer than the model reads; where the server tells how
        long these may be, nothing is sent. Raises ScoringError if the server fails after its retries, if it
        refuses, if its answer is not what it should be, and for an answer without tokens.
        """
        started = time.perf_counter()
        asked = [query_of(self.framing, request, self.max_aliases) for request in requests]
        if self._server.closed:
            raise ScoringError(f"the scorer at {self._server.url} is closed")
        check_lengths(
            [length_of(query) for query in asked], self.longest, f"{self.model!r} at {self._server.url}"
        )
        different = list(dict.fromkeys(asked))
        answers = dict(zip(different, parallel(self._ask, different, self._concurrency), strict=True))
        beliefs = {query: answer for query, answer in answers.items() if isinstance(answer, Belief)}
        if too_long := tuple(place for place, query in enumerate(asked) if query not in beliefs):
            raise TranscriptTooLongError(str(answers[asked[too_long[0]]]), too_long)
        sent = sum(len(prompt.ids) for query in beliefs for prompt in query.prompts)
        with self._lock:
            self._stats = self._stats.plus(
                requests=len(requests), tokens_forwarded=sent, seconds=time.perf_counter() - started
            )
        return [beliefs[query] for query in asked]

    def close(self) -> None:
        """Drop the requests that have not begun, and close the connections."""
        self._server.close()

    def __enter__(self) -> RemoteScorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteScorer:
        return self  # gymnasium copies an environment's arguments, and connections are there to be shared

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._server.url!r}, model={self.model!r}, kind={self.kind!r})"

    def _ask(self, query: Query) -> Belief | str:
        """The belief, or the server's words for a transcript that is too long."""
        try:
            scores = self._scores(self._dialect, query.prompts)
        except ServerError as problem:
            if self._server.closed:
                raise ScoringError(f"the scorer at {self._server.url} was closed meanwhile") from None
            told = problem.without(self._spelled(query))  # a server may repeat the gold answer
            if problem.status in REFUSED and (said := TOO_LONG.search(str(problem))):
                if said[1] and length_of(query) >= int(said[1]):  # another prompt of this length is not sent
                    self.longest = int(said[1]) - GENERATED
                return told
            raise ScoringError(told) from None
        except ValueError as problem:
            raise ScoringError(f"no belief from {self._server.url}: {problem}") from problem
        return belief_of([[each.log_prob for each in score] for score in scores], query.answers)

    def _spelled(self, query: Query) -> Iterator[str]:
        """What a query's prompts and answers spell, and their ids."""
        for ids, scored in query.prompts:
            yield from (self.framing.text(ids), self.framing.text(ids[-scored:]), " ".join(map(str, ids)))

    def _scores(self, dialect: ScoringDialect, prompts: Sequence[Prompt]) -> list[Scores]:
        most = answer_bytes(sum(len(prompt.ids) for prompt in prompts))
        answer = self._server.post(dialect.path, dialect.ask(self.model, prompts), max_bytes=most)
        return dialect.read(answer, prompts)

    def _find_dialect(
        self, dialects: Iterable[ScoringDialect], tokenizer: PreTrainedTokenizerBase
    ) -> ScoringDialect:
        """The first of ``dialects`` in which the server answers the probe."""
        prompts = probe(self.framing)
        problems = []
        for dialect in dialects:
            try:
                scores = self._scores(dialect, prompts)
            except ServerError as problem:
                if problem.status is None:
                    raise
                problems.append(f"as {dialect.name!r}: {problem}")
            except ValueError as problem:
                problems.append(f"as {dialect.name!r}: {problem}")
            else:
                if wrong := flaw(prompts, scores, tokenizer):
                    raise SpecError(f"{self._server.url} cannot be a scorer: {wrong}")
                return dialect
        raise SpecError(
            f"{self._server.url} cannot be a scorer: it does not tell the log-probabilities of a prompt "
            "that is sent as token ids. vLLM and SGLang do; the servers of llama.cpp and llama-cpp-python "
            f"do not. Asked {'; '.join(problems)}"
        )
