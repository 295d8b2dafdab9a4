"""Fetching one page of an unknown server: to an address that was checked, within limits of bytes and time.

This goes past ``requests`` and :mod:`igpo_gym.transport`, which resolve names themselves, use proxies, and
have no deadline for headers: a page is fetched over a socket that is made here.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urljoin

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from igpo_gym import __version__
from igpo_gym.search.web.addresses import PORTS, PageError, Target, addresses, target

AGENT = f"igpo-gym/{__version__}"
"""What pages are asked for as."""

REDIRECTS = 5
"""How many redirects are followed."""

PIECE_BYTES = 1 << 16
READ_KINDS: tuple[str, ...] = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown")
"""The content types that are read."""

_REDIRECTING = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class PageLimits:
    """What one page may cost, and where it may be."""

    seconds: float = 20.0
    """From the first connection to the last byte, redirects included."""
    bytes: int = 4 << 20
    """Of a body, before and after it is decompressed."""
    kinds: tuple[str, ...] = READ_KINDS
    """The content types that are read; empty for any."""
    ports: frozenset[int] = PORTS
    private: bool = False
    """Whether addresses that are not public are connected to. Dangerous: what a page links to is then read
    from this machine's network.
    """


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """What a server sent."""

    url: str
    """Where it was in the end."""
    kind: str
    """Its content type, in lower case."""
    charset: str
    """As the server says; may be empty or wrong."""
    body: bytes


def fetch(url: str, limits: PageLimits, check: Callable[[str], None] = lambda url: None) -> FetchedPage:
    """The page at a URL. ``check`` may raise PageError: it is called with each URL, those of redirects too.

    Raises PageError, with the reason, for whatever is no page that can be read within the limits.
    """
    deadline = time.monotonic() + limits.seconds
    for _ in range(REDIRECTS + 1):
        place = target(url, limits.ports)
        check(url)
        try:
            found = _asked(url, place, limits, deadline)
        except TimeoutError:
            raise PageError(f"it was not complete after {limits.seconds:g} seconds") from None
        except (OSError, HTTPException, ValueError, zlib.error) as problem:
            raise PageError(
                f"it cannot be fetched: {type(problem).__name__}: {str(problem)[:90]!r}"
            ) from None
        if isinstance(found, FetchedPage):
            return found
        url = found
    raise PageError(f"it redirects more than {REDIRECTS} times")


def _asked(url: str, place: Target, limits: PageLimits, deadline: float) -> FetchedPage | str:
    """The page, or the URL that it redirects to."""
    with _connected(place, limits, deadline) as plain:
        plain.settimeout(_left(deadline))
        with (
            _context().wrap_socket(plain, server_hostname=place.host)
            if place.secure
            else plain as open_socket
        ):
            connection = HTTPConnection(place.host, place.port)
            connection.sock = _Timed(open_socket, deadline)
            connection.request(
                "GET",
                place.path,
                headers={
                    "Host": place.authority,
                    "User-Agent": AGENT,
                    "Accept": ", ".join(READ_KINDS),
                    "Accept-Encoding": "gzip",
                    "Connection": "close",
                },
            )
            with connection.getresponse() as response:
                return _answered(url, response, limits)


def _answered(url: str, response: HTTPResponse, limits: PageLimits) -> FetchedPage | str:
    status, headers = response.status, response.headers
    location = headers.get("Location")
    if status in _REDIRECTING and location:
        return urljoin(url, location.encode("latin-1", "replace").decode("utf-8", "replace"))
    if status != 200:
        raise PageError(f"its server answered {status}", status)
    kind, charset = _content_type(headers)
    if limits.kinds and kind not in limits.kinds:
        raise PageError(f"its content type {kind[:60]!r} cannot be read", status)
    if (response.length or 0) > limits.bytes:
        raise PageError(f"it is larger than {limits.bytes} bytes", status)
    return FetchedPage(url, kind, charset, _body(response, limits))


def _body(response: HTTPResponse, limits: PageLimits) -> bytes:
    """The decompressed body."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise PageError(f"its encoding {encoding[:60]!r} cannot be read")
    unpacker = None if encoding in ("", "identity") else _Unpacker()
    received, body = 0, bytearray()
    while piece := response.read(PIECE_BYTES):
        received += len(piece)
        # One byte more than allowed tells that there is more.
        body += piece if unpacker is None else unpacker.unpack(piece, limits.bytes + 1 - len(body))
        if max(received, len(body)) > limits.bytes:
            raise PageError(f"it is larger than {limits.bytes} bytes", response.status)
    if response.length or (received and unpacker is not None and not unpacker.complete):
        raise PageError("its server broke off")
    return bytes(body)


class _Unpacker:
    """What is packed as gzip or zlib, in one stream or in several, one behind another.

    What stands behind a stream and begins no other is left out, as browsers do.
    """

    def __init__(self) -> None:
        self._stream = _stream()

    @property
    def complete(self) -> bool:
        """Whether all that was begun has ended."""
        return bool(self._stream.eof)

    def unpack(self, piece: bytes, most: int) -> bytes:
        """What a piece holds, at most so many bytes."""
        body = b""
        while piece and len(body) < most:
            if self._stream.eof:
                if not piece.startswith((b"\x1f", b"\x78")):  # how gzip and zlib begin
                    break
                self._stream = _stream()
            body += self._stream.decompress(piece, most - len(body))
            piece = self._stream.unused_data
        return body


def _stream() -> Any:
    return zlib.decompressobj(47)  # gzip or zlib, whichever the header of the data shows


def _content_type(headers: Message) -> tuple[str, str]:
    """Content type and charset; HTML where a server says nothing."""
    if not headers.get("Content-Type"):
        return "text/html", ""
    return headers.get_content_type(), str(headers.get_content_charset("") or "")


def _connected(place: Target, limits: PageLimits, deadline: float) -> socket.socket:
    """A connection to the first address that takes one."""
    last: OSError | None = None
    for address in addresses(place.host, place.port, limits.private):
        try:
            return socket.create_connection(address, _left(deadline))
        except OSError as problem:
            last = problem
    raise last or OSError("no address")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@cache
def _context() -> ssl.SSLContext:
    """The certificates of the system, and those that ``requests`` has."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


class _Timed(io.RawIOBase):
    """A socket as :mod:`http.client` uses one, each of whose calls ends by the same deadline."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket, self._deadline = connected, deadline

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._deadline))
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def close(self) -> None:
        """Nothing: an answer is read after its connection is closed, and the socket is closed where it was
        opened.
        """

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_left(self._deadline))
        return self._socket.recv_into(buffer)
