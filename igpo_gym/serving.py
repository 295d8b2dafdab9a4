"""What the package's HTTP servers have in common: bounded requests, refusals as JSON, and an orderly end."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from igpo_gym.errors import SpecError
from igpo_gym.libraries import needs

with needs("a server", "serve", "uvicorn", "fastapi", "starlette"):
    import uvicorn
    from fastapi import FastAPI as FastAPI
    from fastapi import Request as Request
    from fastapi import Response as Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect

__all__ = [
    *("FastAPI", "Refused", "Request", "Response", "bound", "example", "json_response", "read_object"),
    *("serve", "texts", "unless_gone"),
]
# FastAPI's own are taken from here, so that where it is missing the error names the extra.

T = TypeVar("T")

LONGEST_SHUTDOWN = 30
"""Seconds that requests under way are waited for when the server is told to end."""


class Refused(Exception):  # noqa: N818
    """A request that is answered with this status and these words.

    ``wait`` are the seconds of its Retry-After, 0 for none; ``more`` stands in the answer beside the words.
    """

    def __init__(self, status: int, detail: str, wait: int = 0, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.wait, self.more = status, detail, wait, more

    def response(self) -> Response:
        """The answer."""
        headers = {"Retry-After": str(self.wait)} if self.wait else {}
        return json_response({"detail": self.detail, **self.more}, self.status, headers)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(body), status, headers, "application/json")


async def read_object(request: Request, most: int) -> dict[str, Any]:
    """The JSON object that is a request's body, of at most ``most`` bytes. Raises Refused for another."""
    content = bytearray()
    try:
        async for piece in request.stream():
            content += piece
            if len(content) > most:
                raise Refused(413, f"a request may have {most} bytes")
    except ClientDisconnect:
        raise Refused(400, "the request broke off") from None  # for the count; nobody is there to read it
    try:
        asked = json.loads(bytes(content))
    except (ValueError, RecursionError):
        raise Refused(422, "the body must be JSON") from None
    if not isinstance(asked, dict):
        raise Refused(422, "the body must be a JSON object")
    return asked


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives. It is canceled, and Refused raised, once the client of the request is gone.

    The request's body must have been read.
    """
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refused(400, "the client is gone")  # for the count; nobody is there to read it
        return await working
    finally:
        working.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def texts(asked: dict[str, Any], name: str, most: int) -> list[str]:
    """The list of at most ``most`` texts under ``name``. Raises Refused for anything else."""
    found = asked.get(name)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise Refused(422, f"{name} must be a list of texts, not {found!r:.40}")
    if len(found) > most:
        raise Refused(422, f"a request may hold {most} {name}, not {len(found)}")
    return found


def example(body: dict[str, Any]) -> dict[str, Any]:
    """What the documentation at ``/docs`` shows as a request's body."""
    content = {"application/json": {"schema": {"type": "object"}, "example": body}}
    return {"requestBody": {"required": True, "content": content}}


def bound(host: str, port: int) -> socket.socket:
    """A socket at which :func:`serve` can listen. Raises SpecError where that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY; without, an answer in two pieces takes 40 ms longer.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except (OSError, OverflowError) as problem:
        sock.close()
        reason = getattr(problem, "strerror", None) or str(problem)
        raise SpecError(
            f"nothing can listen at {host}:{port} ({reason.lower()}); choose another --port or --host"
        ) from None
    return sock


class _Server(uvicorn.Server):  # type: ignore[misc]
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the app before requests under way are waited for: uvicorn tells it afterwards."""
        state = getattr(self.config.app, "state", None)
        getattr(state, "ending", lambda: None)()
        await super().shutdown(sockets)


def serve(
    app: FastAPI, sock: socket.socket, announce: Callable[[], None], patience: int = LONGEST_SHUTDOWN
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished first, for at most ``patience`` seconds.

    Before they are waited for, what the app has as ``app.state.ending`` is called, if it has that: it may
    refuse what has not begun. ``announce`` is called as soon as clients can connect.

    At an address of this machine alone no other host name is answered to: a page of the web could name the
    machine otherwise, and read what is served.
    """
    address = sock.getsockname()[0]
    if ipaddress.ip_address(address).is_loopback:
        hosts = ["localhost", address, f"[{address}]"]  # an address of version 6 has brackets in a URL
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    config = uvicorn.Config(
        app,
        log_level="warning" if patience else "critical",  # without patience, what is cut off is no error
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=patience,
    )
    server = _Server(config)

    def end(*_: object) -> None:
        server.should_exit = True

    # For a signal before uvicorn listens for it, and for the one that it raises again when it has shut down,
    # which would end the process with its number.
    signal.signal(signal.SIGTERM, end)
    sock.listen(config.backlog)
    announce()
    with suppress(KeyboardInterrupt):
        server.run(sockets=[sock])
