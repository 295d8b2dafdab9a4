"""The server of ``igpo-gym play --web``: a page, and the episodes that it plays, for this machine alone.

``GET /`` is the page, ``POST /episodes`` begins an episode, ``GET /episodes/KEY`` tells where it stands, and
``POST /episodes/KEY/turns`` plays a turn: ``{"turns": 0, "action": {"answer": "Danzig"}}``.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from igpo_gym.errors import AccessError, ReplayError, SamplingError, ScoringError
from igpo_gym.libraries import needs
from igpo_gym.play.episodes import Episodes, PlayedError, UnknownEpisodeError
from igpo_gym.text import printable, without_credentials
from igpo_gym.viewer.data import as_json
from igpo_gym.viewer.page import PARTS, document, joined, web

with needs("igpo-gym play --web", "serve", "fastapi"):
    from fastapi import FastAPI, Request, Response

    from igpo_gym.serving import bound, serve

logger = logging.getLogger(__name__)

T = TypeVar("T")

HOST = "127.0.0.1"

MAX_BYTES = 64 << 10
"""How long a request may be."""

_TOLD = (ValueError, ImportError, OSError, AccessError, ReplayError, ScoringError, SamplingError)
"""What a step may raise that a person can do something about."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_UNKNOWN = "this episode is not here any more; begin a new one"


class _Refused(Exception):  # noqa: N818
    """A request that is answered with this status and these words."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Worker:
    """A thread that makes one call after the other, and that a program need not wait for to end.

    >>> asyncio.run(Worker().run(lambda: 1 + 1))
    2
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        Thread(target=self._work, name="igpo-gym-play", daemon=True).start()

    async def run(self, call: Callable[[], T]) -> T:
        """What the call returns or raises."""
        made: Future[T] = Future()
        self._calls.put((made, call))
        return await asyncio.wrap_future(made)

    def _work(self) -> None:
        while True:
            made, call = self._calls.get()
            if made.set_running_or_notify_cancel():
                try:
                    made.set_result(call())
                except BaseException as problem:  # it is that of the caller, who waits for it
                    made.set_exception(problem)


def make_app(episodes: Episodes, port: int, agent: str = "") -> FastAPI:
    """The application, which listens at ``port``; ``agent`` is who plays, empty for the person."""
    worker = Worker()
    html = _page(episodes, agent)
    hosts = {f"{HOST}:{port}", f"localhost:{port}"}

    def check(request: Request) -> None:
        # A page from elsewhere can name this machine (DNS rebinding), and can post to it.
        if request.headers.get("host") not in hosts:
            raise _Refused(403, f"this server is http://{HOST}:{port}/ and no other")
        if request.method == "POST" and request.headers.get("origin") not in {
            f"http://{each}" for each in hosts
        }:
            raise _Refused(403, "only this server's own page may play")

    async def guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            check(request)
            answer = await go_on(request)
        except _Refused as problem:
            answer = _refusal(problem)
        answer.headers.update(_HEADERS)
        return answer

    async def page() -> Response:
        return Response(html, media_type="text/html")

    async def begin() -> Response:
        return _json(episodes.state(await _told(worker.run(episodes.begin))), 201)

    async def state(key: str) -> Response:
        return _json(episodes.state(key))

    async def play(key: str, request: Request) -> Response:
        turns, action = _asked(await _body(request))
        await _told(worker.run(lambda: episodes.play(key, turns, action)))
        return _json(episodes.state(key))

    async def refused(_: Request, problem: Exception) -> Response:
        return _refusal(problem if isinstance(problem, _Refused) else _Refused(404, _UNKNOWN))

    app = FastAPI(title="igpo-gym play", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(guarded)
    app.add_exception_handler(_Refused, refused)
    app.add_exception_handler(UnknownEpisodeError, refused)
    app.add_api_route("/", page, methods=["GET"])
    app.add_api_route("/episodes", begin, methods=["POST"])
    app.add_api_route("/episodes/{key}", state, methods=["GET"])
    app.add_api_route("/episodes/{key}/turns", play, methods=["POST"])
    return app


def serve_page(
    episodes: Episodes, port: int = 0, agent: str = "", announce: Callable[[str], None] = print
) -> None:
    """Serve until Ctrl-C or SIGTERM, which no step holds up; port 0 is a free one.

    ``announce`` is told the page's URL as soon as it can be opened. Raises SpecError for a taken port.
    """
    with bound(HOST, port) as sock:
        number = sock.getsockname()[1]
        app = make_app(episodes, number, agent)
        serve(app, sock, lambda: announce(f"http://{HOST}:{number}/"), patience=0)


def _page(episodes: Episodes, agent: str) -> str:
    script = joined([*map(web, PARTS), web("play.js", "igpo_gym.play")])
    style = web("style.css") + web("play.css", "igpo_gym.play")
    facts = {"agent": without_credentials(agent), "tools": episodes.tools()}
    return document("igpo-gym play", script, style, as_json(facts), live=True)


async def _told(step: Awaitable[T]) -> T:
    """What a step gives; its failure in one line."""
    try:
        return await step
    except UnknownEpisodeError:
        raise
    except PlayedError as problem:
        raise _Refused(409, str(problem)) from None
    except _TOLD as problem:
        line = " ".join(printable(without_credentials(str(problem))).split())
        raise _Refused(502, line or type(problem).__name__) from None
    except Exception:  # a mistake in a tool or a term must not take the other episodes down
        logger.exception("a step failed")
        raise _Refused(500, "the step failed; the terminal tells why") from None


async def _body(request: Request) -> bytes:
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BYTES:
            raise _Refused(413, f"a message may have {MAX_BYTES >> 10} kB")
    return bytes(content)


def _asked(content: bytes) -> tuple[int, dict[str, Any]]:
    try:
        match json.loads(content):
            case {"turns": int(turns), "action": dict(action)}:
                return turns, action
    except (ValueError, RecursionError):
        pass
    raise _Refused(422, 'the body must be JSON: {"turns": NUMBER, "action": {...}}')


def _refusal(refused: _Refused) -> Response:
    return _json(as_json({"detail": refused.detail}), refused.status)


def _json(text: str, status: int = 200) -> Response:
    # A retriever or an agent may have brought half of a pair of surrogates, which no encoding has.
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")
