"""A search server: any retriever behind Search-R1's protocol, for this package's clients and all others.

``igpo-gym serve search INDEX`` runs it. ``POST /retrieve`` finds passages, ``POST /access`` gives whole
documents, ``GET /health`` tells what is served; ``/mcp`` is for agents that speak MCP, if it is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sized
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from igpo_gym import __version__
from igpo_gym.episode import Passage
from igpo_gym.errors import AccessError, SearchError
from igpo_gym.numbers import finite_number
from igpo_gym.search.dialects import MOST_RESULTS, write_document, write_passage
from igpo_gym.search.interface import Retriever, documents_of
from igpo_gym.search.joining import FullError, Joined
from igpo_gym.serving import (
    FastAPI,
    Refused,
    Request,
    Response,
    example,
    json_response,
    read_object,
    texts,
    unless_gone,
)

logger = logging.getLogger(__name__)

EXAMPLE_QUERIES = {"queries": ["who wrote The Tin Drum"], "topk": 3, "return_scores": True}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server accepts."""

    topk: int = 3
    """How many passages a query gets that does not say, as in Search-R1."""
    max_topk: int = 1000
    max_queries: int = 1024
    """How many queries a request may hold."""
    max_results: int = MOST_RESULTS
    """How many passages a request may ask for, over all its queries."""
    max_bytes: int = 8 << 20
    """How long a request may be."""
    waiting: int = 1024
    """How many requests may wait; the next is told to come back."""


@dataclass
class Line:
    """What the log's next line tells: requests since the last one, and how long they took."""

    seconds: list[float] = field(default_factory=list)
    queries: int = 0
    refused: int = 0

    def written(self, waiting: int) -> str:
        """The line, after which everything is counted from 0 again."""
        seconds = sorted(self.seconds)
        text = (
            f"{len(seconds)} requests, {self.queries} queries, p50 {1e3 * _percentile(seconds, 50):.1f} ms, "
            f"p99 {1e3 * _percentile(seconds, 99):.1f} ms, {self.refused} refused, {waiting} waiting"
        )
        self.seconds, self.queries, self.refused = [], 0, 0
        return text


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else 0.0


class SearchServer:
    """What a server for ``retriever`` answers; :func:`make_app` says where."""

    def __init__(self, retriever: Retriever, fingerprint: str, limits: Limits, joined: Joined) -> None:
        self.retriever, self.fingerprint, self.limits, self.joined = retriever, fingerprint, limits, joined
        self.line = Line()

    async def tell(self) -> None:
        """Write a line of the log a second, while there is something to tell."""
        while True:
            await asyncio.sleep(1)
            if self.line.seconds or self.line.refused:
                logger.info(self.line.written(len(self.joined)))

    async def retrieve(self, request: Request) -> Response:
        """For each query its passages, best first: Search-R1's protocol."""
        return await self._answered(request, self._searched)

    async def access(self, request: Request) -> Response:
        """For each id of a passage the whole document, or null."""
        return await self._answered(request, self._accessed)

    async def health(self) -> Response:
        """What is served."""
        return json_response(
            {
                "status": "ok",
                "passages": len(self.retriever) if isinstance(self.retriever, Sized) else None,
                "fingerprint": self.fingerprint,
                "version": __version__,
                "waiting": len(self.joined),
            }
        )

    async def _answered(
        self, request: Request, answer: Callable[[dict[str, Any]], Coroutine[Any, Any, Any]]
    ) -> Response:
        started = time.perf_counter()
        try:
            asked = await read_object(request, self.limits.max_bytes)
            body = await unless_gone(request, answer(asked))
        except Refused as refused:
            self.line.refused += 1
            return refused.response()
        self.line.seconds.append(time.perf_counter() - started)
        return json_response(body)

    async def _searched(self, asked: dict[str, Any]) -> Any:
        queries, k, scores = _query(asked, self.limits)
        self.line.queries += len(queries)
        found = await _working(self.joined.search(queries, k))
        return {"result": [[_item(each, scores) for each in passages] for passages in found]}

    async def _accessed(self, asked: dict[str, Any]) -> Any:
        documents = documents_of(self.retriever)
        if documents is None:
            raise Refused(404, "this index gives no whole documents")
        ids = texts(asked, "urls", self.limits.max_queries)
        found = await _working(self.joined.run(lambda: documents(ids)))
        return {"result": [write_document(document) for document in found]}


def make_app(
    retriever: Retriever, fingerprint: str = "", limits: Limits = Limits(), mcp_host: str = ""
) -> FastAPI:
    """The application of a server for ``retriever``; ``/health`` tells the ``fingerprint`` of its index.

    With ``mcp_host``, the address it will listen at, it serves MCP at ``/mcp`` as well.
    """
    joined = Joined(retriever, limits.waiting)
    tools = _mcp(joined, retriever, limits) if mcp_host else None
    server = SearchServer(retriever, fingerprint, limits, joined)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        telling = asyncio.create_task(server.tell())
        async with tools.session_manager.run() if tools else nullcontext():
            yield
        telling.cancel()
        joined.close()

    app = FastAPI(title="igpo-gym search", version=__version__, lifespan=lifespan)
    app.add_api_route("/retrieve", server.retrieve, methods=["POST"], openapi_extra=example(EXAMPLE_QUERIES))
    app.add_api_route("/access", server.access, methods=["POST"], openapi_extra=example({"urls": ["0"]}))
    app.add_api_route("/health", server.health, methods=["GET"])
    if tools:
        app.mount("/", tools.streamable_http_app(stateless_http=True, json_response=True, host=mcp_host))
    return app


def _mcp(joined: Joined, retriever: Retriever, limits: Limits) -> Any:
    from igpo_gym.search.mcp_server import make_mcp_server  # needs an extra of its own

    return make_mcp_server(joined, retriever, limits.topk, limits.max_topk)


def _item(passage: Passage, scored: bool) -> dict[str, Any]:
    document = write_passage(passage)
    if not scored:
        return document
    return {"document": document, "score": finite_number(passage.score)}  # JSON has no NaN


async def _working(search: Awaitable[Any]) -> Any:
    """What a search gives; its failures as answers."""
    try:
        return await search
    except FullError:
        raise Refused(503, "too many requests wait; come back later", wait=1) from None
    except (SearchError, OSError) as problem:
        raise Refused(503, f"the search is unavailable: {problem}", wait=1) from None
    except AccessError as problem:
        raise Refused(502, str(problem)) from None
    except Exception:  # a fault of the retriever must not take the server down
        logger.exception("a search failed")
        raise Refused(500, "the search failed; the server's log tells why") from None


def _query(asked: dict[str, Any], limits: Limits) -> tuple[list[str], int, bool]:
    """The queries of a request, how many passages each gets, and whether with scores."""
    if "queries" not in asked and isinstance(asked.get("query"), str):
        queries = [asked["query"]]
    else:
        queries = texts(asked, "queries", limits.max_queries)
    k = limits.topk if asked.get("topk") in (None, 0) else asked["topk"]
    if not isinstance(k, int) or isinstance(k, bool) or not 0 < k <= limits.max_topk:
        raise Refused(422, f"topk must be a whole number from 1 to {limits.max_topk}, not {k!r:.40}")
    if len(queries) * k > limits.max_results:
        raise Refused(
            422, f"a request may ask for {limits.max_results} passages, not {len(queries)} times {k}"
        )
    scores = asked.get("return_scores")
    if not (scores is None or isinstance(scores, bool)):
        raise Refused(422, f"return_scores must be true or false, not {scores!r:.40}")
    return queries, k, bool(scores)
