"""The server of ``igpo-gym play --web``: a page, and the episodes that it plays, for this machine alone.

``GET /`` is the page, ``POST /episodes`` begins an episode, ``GET /episodes/KEY`` tells where it stands, and
``POST /episodes/KEY/turns`` plays a turn: ``{"turns": 0, "action": {"answer": "Danzig"}}``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from igpo_gym.batching import Batches
from igpo_gym.errors import AccessError, ReplayError, SamplingError, ScoringError
from igpo_gym.play.episodes import Episodes, PlayedError, UnknownEpisodeError
from igpo_gym.serving import FastAPI, Refused, Request, Response, bound, read_object, serve
from igpo_gym.text import printable, without_credentials
from igpo_gym.viewer.data import as_json
from igpo_gym.viewer.page import PARTS, document, joined, web

logger = logging.getLogger(__name__)

T = TypeVar("T")

HOST = "127.0.0.1"

MAX_BYTES = 64 << 10
"""How long a request may be."""

_CURABLE = (ValueError, ImportError, OSError, AccessError, ReplayError, ScoringError, SamplingError)
"""What a step may raise that a person can do something about."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_UNKNOWN = "this episode is not here any more; begin a new one"


def make_app(episodes: Episodes, port: int, agent: str = "") -> FastAPI:
    """The application, which listens at ``port``; ``agent`` is who plays, empty for the person."""
    # One thread makes one call after the other, and the program need not wait for it to end.
    calls: Batches[Callable[[], Any], Any] = Batches(
        lambda batch: [call() for call in batch], size=1, name="igpo_gym-play"
    )
    html = _page(episodes, agent)
    hosts = {f"{HOST}:{port}", f"localhost:{port}"}

    def check(request: Request) -> None:
        # A page from elsewhere can name this machine (DNS rebinding), and can post to it.
        if request.headers.get("host") not in hosts:
            raise Refused(403, f"this server is http://{HOST}:{port}/ and no other")
        if request.method == "POST" and request.headers.get("origin") not in {
            f"http://{each}" for each in hosts
        }:
            raise Refused(403, "only this server's own page may play")

    async def guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            check(request)
            answer = await go_on(request)
        except Refused as problem:
            answer = problem.response()
        answer.headers.update(_HEADERS)
        return answer

    async def made(call: Callable[[], T]) -> T:
        result: T
        (result,) = await _or_refused(asyncio.wrap_future(calls.place([call])))
        return result

    async def page() -> Response:
        return Response(html, media_type="text/html")

    async def begin() -> Response:
        return _shown(episodes.state(await made(episodes.begin)), 201)

    async def state(key: str) -> Response:
        return _shown(episodes.state(key))

    async def play(key: str, request: Request) -> Response:
        turns, action = _asked(await read_object(request, MAX_BYTES))
        await made(lambda: episodes.play(key, turns, action))
        return _shown(episodes.state(key))

    async def refused(_: Request, problem: Exception) -> Response:
        return (problem if isinstance(problem, Refused) else Refused(404, _UNKNOWN)).response()

    app = FastAPI(title="igpo-gym play", docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(guarded)
    app.add_exception_handler(Refused, refused)
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


async def _or_refused(step: Awaitable[T]) -> T:
    """What a step gives; its failure in one line."""
    try:
        return await step
    except UnknownEpisodeError:
        raise
    except PlayedError as problem:
        raise Refused(409, str(problem)) from None
    except _CURABLE as problem:
        line = " ".join(printable(without_credentials(str(problem))).split())
        raise Refused(502, line or type(problem).__name__) from None
    except Exception:  # a mistake in a tool or a term must not take the other episodes down
        logger.exception("a step failed")
        raise Refused(500, "the step failed; the terminal tells why") from None


def _asked(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    match body:
        case {"turns": int(turns), "action": dict(action)}:
            return turns, action
    raise Refused(422, 'the body must be {"turns": NUMBER, "action": {...}}')


def _shown(state: str, status: int = 200) -> Response:
    # A retriever or an agent may have brought half of a pair of surrogates, which no encoding has.
    return Response(state.encode("utf-8", "replace"), status, media_type="application/json")
