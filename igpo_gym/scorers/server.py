"""A belief server: the local scorer behind HTTP, for this package's clients and for any other language.

``igpo-gym serve beliefs MODEL`` runs it. ``POST /beliefs`` tells beliefs, ``GET /health`` what is served,
``GET /metrics`` what was done, and ``POST /weights`` takes new weights, where that is allowed.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from igpo_gym import __version__
from igpo_gym.errors import SpecError
from igpo_gym.scorers.belief_wire import (
    KIND,
    TOO_LONG,
    WEIGHTS_TOKEN,
    WireRequest,
    read_request,
    write_belief,
)
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.pushed import folder_below
from igpo_gym.scorers.served import EndedError, ServedScorer, ToldBelief
from igpo_gym.serving import (
    FastAPI,
    Refused,
    Request,
    Response,
    example,
    json_response,
    read_object,
    unless_gone,
)

logger = logging.getLogger(__name__)

EXAMPLE = {"messages": [{"role": "user", "content": "Where is Danzig?"}], "answers": ["Poland"]}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a belief server accepts."""

    max_requests: int = 256
    """How many transcripts one HTTP request may hold."""
    max_bytes: int = 8 << 20
    """How long it may be."""
    waiting: int = 1024
    """How many HTTP requests may wait; the next is told to come back."""


@dataclass(frozen=True, slots=True)
class Pushes:
    """Who may push weights, and from where."""

    folder: Path
    token: str

    @classmethod
    def of(cls, folder: Path | None) -> Pushes | None:
        """Pushes from below ``folder`` with the token of the environment; None without a folder.

        Raises SpecError for a folder that is not there, and where the environment has no token.
        """
        if folder is None:
            return None
        if not folder.is_dir():
            raise SpecError(f"there is no folder {str(folder)!r} for --weights-folder")
        token = os.environ.get(WEIGHTS_TOKEN, "")
        if not token:
            raise SpecError(f"--weights-folder needs a token: set {WEIGHTS_TOKEN}, here and at the trainer")
        return cls(folder, token)

    def check(self, header: str) -> None:
        """Raise Refused for a request whose Authorization is not the token."""
        if not hmac.compare_digest(header.encode(), f"Bearer {self.token}".encode()):
            raise Refused(401, f"the Authorization must be 'Bearer' and the token of {WEIGHTS_TOKEN}")


class BeliefServer:
    """What a server of ``scorer``, whose model is called ``name``, answers; :func:`make_app` says where."""

    def __init__(self, scorer: TransformersScorer, name: str, limits: Limits, pushes: Pushes | None) -> None:
        self.scorer, self.name, self.limits, self.pushes = scorer, name, limits, pushes
        self.served = ServedScorer(scorer)
        self.answers: Counter[int] = Counter()
        self.beliefs = self.waiting = 0
        self.loading = asyncio.Lock()

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """When the server ends, so does the thread that asks the scorer."""
        yield
        await asyncio.to_thread(self.served.end)

    async def post_beliefs(self, request: Request) -> Response:
        """For each transcript the log-probabilities of its answers' tokens, and the weights' version."""
        return await self._answered(self._scored(request))

    async def post_weights(self, request: Request) -> Response:
        """Take the weights of a folder below the folder of weights; answers with their version."""
        return await self._answered(self._loaded(request))

    async def health(self) -> Response:
        """What is served."""
        return json_response(
            {
                "status": "ok",
                "kind": KIND,
                "model": self.name,
                "version": self.served.version,
                "longest": self.scorer.reader.longest,
                "max_requests": self.limits.max_requests,
                "max_bytes": self.limits.max_bytes,
                "waiting": self.waiting,
                "package": __version__,
            }
        )

    async def metrics(self) -> Response:
        """What was done, in the text format of Prometheus."""
        stats = self.scorer.stats
        text = exposition(
            {
                "beliefs_total": self.beliefs,
                "tokens_forwarded_total": stats.tokens_forwarded,
                "tokens_reused_total": stats.tokens_reused,
                "tokens_minimum_total": stats.tokens_minimum,
                "scoring_seconds_total": stats.seconds,
                "weights_pushed_total": self.served.pushed,
                "cache_bytes": stats.cache_bytes,
                "waiting": self.waiting,
            },
            self.answers,
        )
        return Response(text, media_type="text/plain; version=0.0.4")

    async def _answered(self, work: Awaitable[Any]) -> Response:
        try:
            response = json_response(await work)
        except Refused as refused:
            response = refused.response()
        except EndedError as ended:
            response = Refused(503, str(ended), wait=1).response()
        except Exception:  # a fault of the model must not take the server down
            logger.exception("a request failed")
            response = Refused(500, "the scorer failed; the server's log tells why").response()
        self.answers[response.status_code] += 1
        return response

    async def _scored(self, request: Request) -> dict[str, Any]:
        asked, version = _read(await read_object(request, self.limits.max_bytes), self.limits)
        if self.waiting >= self.limits.waiting:
            raise Refused(503, "too many requests wait; come back later", wait=1)
        self.waiting += 1
        try:
            found = await unless_gone(request, self.served.ask(asked))
        finally:
            self.waiting -= 1
        _check(found, version)
        self.beliefs += sum(each.belief is not None for each in found)
        tokens = sum(each.tokens for each in found)
        return {"version": found[0].version, "tokens": tokens, "beliefs": [_entry(each) for each in found]}

    async def _loaded(self, request: Request) -> dict[str, Any]:
        assert self.pushes is not None
        self.pushes.check(request.headers.get("authorization", ""))
        body = await read_object(request, 4096)
        if not isinstance(body.get("name"), str):
            raise Refused(422, "name must be the name of a folder of weights")
        if self.loading.locked():
            raise Refused(503, "other weights are being loaded; come back later", wait=1)
        async with self.loading:
            try:
                return {"version": await self.served.push(folder_below(self.pushes.folder, body["name"]))}
            except SpecError as problem:
                raise Refused(422, str(problem)) from None


def make_app(
    scorer: TransformersScorer, name: str = "", limits: Limits = Limits(), pushes: Pushes | None = None
) -> FastAPI:
    """The application of a server of ``scorer``, whose model is called ``name``.

    Without ``pushes`` there is no ``POST /weights``.
    """
    server = BeliefServer(scorer, name, limits, pushes)
    app = FastAPI(title="igpo-gym beliefs", version=__version__, lifespan=server.lifespan)
    app.state.ending = server.served.batches.stop
    app.add_api_route("/beliefs", server.post_beliefs, methods=["POST"], openapi_extra=example(EXAMPLE))
    app.add_api_route("/health", server.health, methods=["GET"])
    app.add_api_route("/metrics", server.metrics, methods=["GET"])
    if pushes:
        body = example({"name": "10"})
        app.add_api_route("/weights", server.post_weights, methods=["POST"], openapi_extra=body)
    return app


def exposition(values: Mapping[str, float], answers: Mapping[int, int]) -> str:
    """Numbers in the text format of Prometheus, and the count of answers by status.

    >>> print(exposition({"waiting": 2}, {200: 5}), end="")
    # TYPE igpo_gym_waiting gauge
    igpo_gym_waiting 2
    # TYPE igpo_gym_answers_total counter
    igpo_gym_answers_total{status="200"} 5
    """
    lines = []
    for name, value in values.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# TYPE igpo_gym_{name} {kind}", f"igpo_gym_{name} {value}"]
    lines.append("# TYPE igpo_gym_answers_total counter")
    lines += [f'igpo_gym_answers_total{{status="{status}"}} {count}' for status, count in answers.items()]
    return "\n".join(lines) + "\n"


def _read(body: dict[str, Any], limits: Limits) -> tuple[list[WireRequest], str]:
    """The requests of a body, which is one itself or has a list of them, and the version that it names."""
    version = body.get("version", "")
    items = body.get("requests", [body])
    if not isinstance(version, str):
        raise Refused(422, "version must be a text")
    if not isinstance(items, list) or not 0 < len(items) <= limits.max_requests:
        raise Refused(422, f"requests must be a list of 1 to {limits.max_requests} requests")
    asked = []
    for number, item in enumerate(items, 1):
        try:
            asked.append(read_request(item))
        except ValueError as problem:
            raise Refused(422, f"request {number} of {len(items)}: {problem}") from None
    return asked, version


def _check(told: Sequence[ToldBelief], version: str) -> None:
    """Raise Refused where the version is another one, and where a request cannot be answered."""
    if version and version != told[0].version:
        now = told[0].version
        raise Refused(409, f"the weights {version!r:.40} are gone; {now!r} are served", version=now)
    for number, each in enumerate(told, 1):
        if each.wrong:
            raise Refused(422, f"request {number} of {len(told)}: {each.wrong}")


def _entry(told: ToldBelief) -> dict[str, Any]:
    return {TOO_LONG: told.too_long} if told.belief is None else write_belief(told.belief)
