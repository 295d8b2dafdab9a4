"""A real HTTP server on loopback that answers as a test says, and notes what it was asked."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.serving import answering


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """An answer; JSON if ``content`` is neither text nor bytes. Pieces go out as they come."""

    content: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Iterator[bytes] | None = None
    raw: bool = False
    """Whether the pieces are all that is sent, the status line included."""


@dataclass
class Site:
    """A server while it runs."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serving(answer: Callable[[Asked], Reply], keys: tuple[Path, Path] | None = None) -> Iterator[Site]:
    """A site on a free port whose every request ``answer`` answers; over TLS with certificate and key."""
    site, lock = Site(0), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(content) if content else None
            asked = Asked(self.command, parts.path, query, dict(self.headers), body)
            with lock:
                site.asked.append(asked)
                site.at_once += 1
                site.most_at_once = max(site.most_at_once, site.at_once)
            try:
                with contextlib.suppress(ConnectionError):
                    self._send(answer(asked))
            finally:
                with lock:
                    site.at_once -= 1

        do_POST = do_GET  # noqa: N815

        def _send(self, reply: Reply) -> None:
            content = reply.content
            if reply.raw:
                self.close_connection = True
                for piece in reply.pieces or ():
                    self.wfile.write(piece)
                return
            if isinstance(content, str):
                content = content.encode()
            elif not isinstance(content, bytes):
                content = json.dumps(content).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.pieces is None:
                if "Content-Length" not in reply.headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = "Content-Length" in reply.headers
                return
            self.close_connection = True
            self.send_header("Connection", "close")
            self.end_headers()
            for piece in reply.pieces:
                self.wfile.write(piece)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *args: object) -> None:
            """Clients that hang up are what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if keys:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*keys)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.port = server.server_port
    with answering(server):
        yield site
