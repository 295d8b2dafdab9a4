"""The belief scorer at a belief server (``igpo-gym serve beliefs``), which may be another machine's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from threading import Lock
from types import TracebackType
from typing import Any

from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError, SpecError, TranscriptTooLongError
from igpo_gym.lm.served import told
from igpo_gym.scorers.belief_wire import KIND, TOO_LONG, WEIGHTS_TOKEN, read_belief, write_request
from igpo_gym.scorers.interface import BeliefRequest, ScorerStats
from igpo_gym.transport import Key, Server, ServerError

WEIGHTS_KEY = Key(WEIGHTS_TOKEN)
"""Where the token that a server wants for new weights is found."""

ATTEMPTS = 5
"""How often the requests of a call are asked while weights change amid them."""

ANSWER_BYTES = 64 << 20


class BeliefServerScorer:
    """Beliefs from a server of this package (an ``AnswerScorer``): ``beliefs:http://host:8001`` as a spec.

    The numbers are those of the local scorer, for the server is one. No tokenizer and no model is needed
    here. All beliefs of a call are of one version of the weights, which ``Belief.weights`` tells; where
    weights change amid a call, it is asked anew. For ``timeout`` (seconds), ``retries`` and ``backoff`` see
    :class:`transport.Server`; at most ``concurrency`` calls are under way at a time.

    Raises ScoringError if the server cannot be reached, and SpecError if it is no belief server.

    Safe to call from many threads. Copies are the scorer itself.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 120.0,
        retries: int = 8,
        backoff: float = 0.5,
        concurrency: int = 16,
    ) -> None:
        self._server = Server(url, timeout=timeout, retries=retries, backoff=backoff, concurrency=concurrency)
        self._lock = Lock()
        self._stats = ScorerStats()
        try:
            health = told(self._server, "/health")
            if health.get("kind") != KIND:
                raise SpecError(
                    f"{self._server.url} is no belief server (igpo-gym serve beliefs MODEL); for vLLM or "
                    f"SGLang give {self._server.url}/v1"
                )
            self.model = str(health.get("model"))
            """What the server calls its model."""
            self._most = int(health["max_requests"]), int(health["max_bytes"])
        except ServerError as problem:
            self.close()
            raise ScoringError(str(problem)) from None
        except (LookupError, TypeError, ValueError, OverflowError) as problem:
            self.close()
            if isinstance(problem, SpecError):
                raise
            raise SpecError(f"{self._server.url} does not tell its limits, as a belief server does") from None

    @property
    def stats(self) -> ScorerStats:
        """What has been asked so far. ``tokens_forwarded`` are those of the transcripts and answers, as the
        server counts them; how many of them it had cached is at its ``/metrics``."""
        return self._stats

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order, all of one version of the weights.

        Raises TranscriptTooLongError for transcripts longer than the model reads. Raises ScoringError if the
        server fails after its retries, if it refuses, if its answer is not what it should be, and if weights
        change all the time.
        """
        started = time.perf_counter()
        found, tokens = self._of_one_version(requests) if requests else ([], 0)
        if too_long := tuple(place for place, each in enumerate(found) if isinstance(each, str)):
            raise TranscriptTooLongError(str(found[too_long[0]]), too_long)
        with self._lock:
            self._stats = self._stats.plus(
                requests=len(requests), tokens_forwarded=tokens, seconds=time.perf_counter() - started
            )
        return [belief for belief in found if isinstance(belief, Belief)]

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def __enter__(self) -> BeliefServerScorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> BeliefServerScorer:
        return self  # gymnasium copies an environment's arguments, and connections are there to be shared

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._server.url!r}, model={self.model!r})"

    def _of_one_version(self, requests: Sequence[BeliefRequest]) -> tuple[list[Belief | str], int]:
        """For each request its belief, or the server's words for a transcript that is too long.

        And how many tokens were asked about; where weights changed, those of each attempt.
        """
        tokens = 0
        for _ in range(ATTEMPTS):
            found: list[Belief | str] = []
            version = ""
            try:
                for part, items in self._parts(requests):
                    version, answers, asked = self._ask(part, items, version)
                    found += answers
                    tokens += asked
            except _GoneError:
                continue
            return found, tokens
        raise ScoringError(
            f"the weights at {self._server.url} changed {ATTEMPTS} times while {len(requests)} beliefs were "
            "asked; push them less often, or ask for less at a time"
        )

    def _parts(
        self, requests: Sequence[BeliefRequest]
    ) -> Iterator[tuple[list[BeliefRequest], list[dict[str, Any]]]]:
        """The requests in parts that the server takes, with their JSON."""
        most, most_bytes = self._most
        part: list[BeliefRequest] = []
        items: list[dict[str, Any]] = []
        size = 1000
        for request in requests:
            item = write_request(request)
            length = len(json.dumps(item)) + 2
            if part and (len(part) == most or size + length > most_bytes):
                yield part, items
                part, items, size = [], [], 1000
            part.append(request)
            items.append(item)
            size += length
        yield part, items

    def _ask(
        self, part: Sequence[BeliefRequest], items: Sequence[dict[str, Any]], version: str
    ) -> tuple[str, list[Belief | str], int]:
        body = {"requests": items, **({"version": version} if version else {})}
        try:
            answer = self._server.post("/beliefs", body, max_bytes=ANSWER_BYTES)
        except ServerError as problem:
            if problem.status == 409:
                raise _GoneError from None
            asked = [text for each in part for text in (*each.answers, *(one.text for one in each.segments))]
            told = problem.without(asked)
            if problem.status == 413 and len(part) == 1:
                return version, [told], 0
            raise ScoringError(told) from None
        try:
            return _read(answer, part)
        except ValueError as problem:
            raise ScoringError(f"no belief from {self._server.url}: {problem}") from None


class _GoneError(Exception):
    """The version that a request named is not served any more."""


def _read(answer: Any, part: Sequence[BeliefRequest]) -> tuple[str, list[Belief | str], int]:
    """The version, the beliefs and the tokens of an answer. Raises ValueError for what is none.

    The tokens are 0 where a server does not count them.
    """
    version = answer.get("version") if isinstance(answer, dict) else None
    entries = answer.get("beliefs") if isinstance(answer, dict) else None
    if not isinstance(version, str) or not isinstance(entries, list) or len(entries) != len(part):
        raise ValueError(f"its answer has no version and beliefs of {len(part)} requests")
    tokens = answer.get("tokens", 0)
    if not isinstance(tokens, int) or tokens < 0:
        raise ValueError("its answer has tokens that are no number")
    found: list[Belief | str] = []
    for request, entry in zip(part, entries, strict=True):
        too_long = entry.get(TOO_LONG) if isinstance(entry, dict) else None
        found.append(str(too_long) if too_long else read_belief(entry, len(request.answers), version))
    return version, found, tokens


def push_weights(url: str, name: str, *, timeout: float = 600.0, retries: int = 30) -> str:
    """Let the belief server at ``url`` take the weights in the folder ``name`` below its folder of weights.

    The token is taken from ``IGPO_GYM_WEIGHTS_TOKEN``. Returns the version of the new weights. Raises
    ScoringError if the server refuses them, or cannot be reached.
    """
    server = Server(url, timeout=timeout, retries=retries, backoff=0.5, concurrency=1, key=WEIGHTS_KEY)
    try:
        answer = server.post("/weights", {"name": name})
    except ServerError as problem:
        raise ScoringError(str(problem)) from None
    finally:
        server.close()
    version = answer.get("version") if isinstance(answer, dict) else None
    if not isinstance(version, str):
        raise ScoringError(f"{server.url} does not tell the version of the weights {name!r}")
    return version
