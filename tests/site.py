"""A real HTTP server on loopback that speaks JSON: it answers as a test says, and notes what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serving import answering

Handler = BaseHTTPRequestHandler
Route = Callable[[Any], Any]
"""From the JSON that was posted (None for a GET) to the JSON that answers it, or what it raises."""


class Refusal(Exception):  # noqa: N818
    """A route's answer with a status other than 200."""

    def __init__(self, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, dict(headers or {})


class Raw(Exception):  # noqa: N818
    """A route that does what it likes with the connection."""

    def __init__(self, write: Callable[[Handler], None]) -> None:
        super().__init__()
        self.write = write


@dataclass
class Site:
    """A server while it runs. ``routes`` may be changed; ``seen`` is all that was asked."""

    url: str
    routes: dict[str, Route]
    seen: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def posts(self, below: str = "/") -> list[Any]:
        """The bodies of all posts so far to paths that begin so."""
        return [body for path, body in self.seen if body is not None and path.startswith(below)]


@contextlib.contextmanager
def running(routes: Mapping[str, Route]) -> Iterator[Site]:
    """A site with these routes on a free port of loopback; other paths are answered with 404."""
    site = Site("", dict(routes))

    class SiteHandler(Handler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802
            self._serve(None)

        def do_POST(self) -> None:  # noqa: N802
            self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _serve(self, body: Any) -> None:
            with site.lock:
                site.seen.append((self.path, body))
                site.headers.append({**self.headers, "port": str(self.client_address[1])})
                site.at_once += 1
                site.most_at_once = max(site.most_at_once, site.at_once)
            try:
                answer = site.routes[self.path](body) if self.path in site.routes else _missing()
                send(self, 200, json.dumps(answer).encode())
            except Refusal as refusal:
                send(self, refusal.status, json.dumps(refusal.body).encode(), refusal.headers)
            except Raw as raw:
                raw.write(self)
            finally:
                with site.lock:
                    site.at_once -= 1

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), SiteHandler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    with answering(server):
        yield site


def send(handler: Handler, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
    """A whole answer."""
    handler.send_response(status)
    usual = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    for name, value in {**usual, **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def _missing() -> Any:
    raise Refusal(404, {"detail": "Not Found"})
