"""HTTP connections whose answers have one deadline, and a size: for servers that trickle or flood."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.response import BaseHTTPResponse

PIECE_BYTES = 1 << 16
"""How much of an answer is read, and unpacked, at a time."""


class TooLongError(Exception):
    """An answer of more bytes than the caller takes."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"its answer has more than the {max_bytes:,} bytes that are accepted")


def content(raw: BaseHTTPResponse, max_bytes: int) -> bytes:
    """The body of an answer, unpacked. Nothing beyond ``max_bytes`` and a piece is held, whatever was packed.

    Raises TooLongError for a longer one, and what urllib3 raises.
    """
    declared = raw.headers.get("Content-Length", "")
    if declared.isdecimal() and float(declared) > max_bytes:
        raise TooLongError(max_bytes)
    read = bytearray()
    while piece := raw.read1(PIECE_BYTES, decode_content=True):
        read += piece
        if len(read) > max_bytes:
            raise TooLongError(max_bytes)
    return bytes(read)


class _Punctual(io.RawIOBase):
    """The bytes of a socket until its timeout has passed in all: a socket's own is one for each read."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        allowed = sock.gettimeout()
        assert allowed is not None, "requests are sent with a timeout"
        self._raw, self._sock, self._allowed = raw, sock, allowed
        self._end = time.monotonic() + allowed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"it was not complete after {self._allowed:g} seconds")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose status, headers, chunks and body have one deadline together."""

    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp: io.BufferedReader = io.BufferedReader(_Punctual(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class PunctualAdapter(HTTPAdapter):
    """Makes connections whose answers have a deadline, directly and through proxies."""

    def init_poolmanager(self, *settings: Any, **more: Any) -> None:
        """As :meth:`HTTPAdapter.init_poolmanager`."""
        super().init_poolmanager(*settings, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, proxy: str, **settings: Any) -> PoolManager:
        """As :meth:`HTTPAdapter.proxy_manager_for`."""
        manager: PoolManager = super().proxy_manager_for(proxy, **settings)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager
