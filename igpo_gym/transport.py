"""JSON over HTTP with a server that may be slow, busy or broken, and a key that never shows."""

from __future__ import annotations

import base64
import json
import os
import time
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError, InvalidHeader, ReadTimeoutError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from igpo_gym.errors import SpecError

API_KEY = "IGPO_GYM_API_KEY"
"""The environment variable with the key that a server wants as its bearer token."""

RETRIED = (429, 500, 502, 503, 504)
"""The statuses of a server that is busy or broken for the moment."""

LONGEST_WAIT = 30.0
"""Seconds between two attempts at most, whatever the server asks for."""

CONNECTING = 10.0
"""Seconds that making a connection may take."""

PIECE_BYTES = 1 << 16
"""How much of an answer is read at a time."""

SHOWN_CHARACTERS = 300
"""How much of a server's own words an error shows."""


@dataclass(frozen=True, slots=True)
class Key:
    """Where a server's key is found, and how it is sent: as ``header: prefix key``."""

    variable: str = API_KEY
    """The environment variable that holds it."""
    header: str = "Authorization"
    prefix: str = "Bearer "


class ServerError(RuntimeError):
    """A server that cannot be reached, that refuses, or whose answer is not JSON; no secret is in it.

    ``status`` is the HTTP status of the answer, and None if there was none.
    """

    def __init__(self, problem: str, status: int | None = None) -> None:
        super().__init__(problem)
        self.status = status


class Server:
    """One server, whose root is ``url`` less a trailing ``/v1``. Safe to use from many threads.

    The key is a user and password in the URL, or else what ``key`` names, if it is there; with None no key of
    the environment is sent. ``timeout`` (seconds) is how long an answer may take to begin, and then to be
    complete; one that is late is not asked for again, for the server has work enough. An attempt that meets
    a connection error or one of the ``RETRIED`` statuses is repeated up to ``retries`` times: at once, then
    after ``backoff`` * 2, 4, 8, ... seconds and a random part of ``backoff``, or when the server's
    Retry-After asks for it, but after ``LONGEST_WAIT`` at the latest.

    Raises SpecError for what is not the URL of an HTTP server, and for a key that cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        retries: int,
        backoff: float,
        connections: int,
        key: Key | None = Key(),
    ) -> None:
        self.url, auth, self._secrets = _address(url, key)
        self._key = key
        self._timeout = timeout
        self._session = requests.Session()
        self._session.auth = auth
        # Sessions may be shared by threads as long as none of their state changes: no cookies are kept.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        policy = _Patience(
            total=retries,
            allowed_methods=None,  # all: asking for a score again changes nothing
            status_forcelist=RETRIED,
            raise_on_status=False,
            backoff_factor=backoff,
            backoff_jitter=backoff,
            backoff_max=LONGEST_WAIT,
        )
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=policy)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter)

    @property
    def has_key(self) -> bool:
        """Whether requests carry a key, or a user and password."""
        return bool(self._secrets)

    def get(self, path: str) -> Any:
        """The JSON at ``path``. Raises ServerError."""
        return self._exchange("GET", path)

    def post(self, path: str, body: object) -> Any:
        """The JSON that answers ``body``. Raises ServerError."""
        return self._exchange("POST", path, body)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _exchange(self, method: str, path: str, body: object = None) -> Any:
        """What broke off in the middle of the answer is asked for once more; urllib3 does not do that."""
        for last in (False, True):
            try:
                response = self._session.request(
                    method,
                    self.url + path,
                    json=body,
                    timeout=(min(CONNECTING, self._timeout), self._timeout),
                    stream=True,
                    allow_redirects=False,
                )
            except (requests.RequestException, HTTPError) as problem:
                raise self._error(f"no answer from {self.url}: {_reason(problem)}") from None
            try:
                with response:
                    content = self._content(response.raw)
                break
            except (HTTPError, OSError) as problem:
                if last or isinstance(problem, (TimeoutError, ReadTimeoutError)):
                    raise self._error(f"{self.url} broke off its answer: {_reason(problem)}") from None
        status = response.status_code
        if status != requests.codes.ok:
            hint = f"; its key belongs in {self._key.variable}" if self._key and status in (401, 403) else ""
            raise self._error(f"{self.url}{path} answered {status} {response.reason}{hint}", content, status)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise self._error(f"{self.url}{path} answered with what is not JSON", content, status) from None

    def _content(self, raw: BaseHTTPResponse) -> bytes:
        """The body. Read in pieces, for a timeout of ``requests`` is one for each piece that arrives."""
        deadline = time.monotonic() + self._timeout
        content = bytearray()
        while piece := raw.read1(PIECE_BYTES, decode_content=True):
            content += piece
            if time.monotonic() > deadline:
                raise TimeoutError(f"it was not complete after {self._timeout:g} seconds")
        return bytes(content)

    def _error(self, problem: str, content: bytes = b"", status: int | None = None) -> ServerError:
        words = content.decode("utf-8", "replace").strip()
        text = f"{problem}: {words}" if words else problem
        for secret in self._secrets:  # before anything is cut off, or half of one could stay
            text = text.replace(secret, "***")
        shown = len(problem) + SHOWN_CHARACTERS
        return ServerError(text if len(text) <= shown else f"{text[:shown]}...", status)


class _Patience(Retry):
    """urllib3's retries, but none after a late answer, and no wait as long as a server likes, or to a date
    that cannot be read.
    """

    def increment(self, *attempt: Any, **more: Any) -> _Patience:
        if isinstance(error := more.get("error"), ReadTimeoutError):
            raise error
        return super().increment(*attempt, **more)

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        try:
            seconds = super().get_retry_after(response)
        except InvalidHeader:
            return None
        return None if seconds is None else min(seconds, LONGEST_WAIT)


class _Header(AuthBase):
    """A key in a header, or none. As the session's ``auth`` it also keeps ``requests`` from looking for a
    .netrc file.
    """

    def __init__(self, name: str = "", value: str = "") -> None:
        self._name, self._value = name, value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._name:
            request.headers[self._name] = self._value
        return request


def _address(url: str, key: Key | None) -> tuple[str, AuthBase, tuple[str, ...]]:
    """The server's root without user and password, how it is authenticated with, and what must not show."""
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is not a number, a bracket that is not closed
        right = False
    if not right or parts.query or parts.fragment:
        raise SpecError("the URL of a server has the form http://host:8000 or http://host:8000/v1")
    root = f"{parts.scheme}://{place}{parts.path.rstrip('/').removesuffix('/v1')}"
    if parts.username is not None or parts.password is not None:
        user, password = unquote(parts.username or "").encode(), unquote(parts.password or "").encode()
        header = base64.b64encode(user + b":" + password).decode()
        secrets = (header, parts.password or "", password.decode("utf-8", "replace"))
        return root, HTTPBasicAuth(user, password), tuple(filter(None, secrets))
    value = os.environ.get(key.variable, "").strip() if key else ""
    if not key or not value:
        return root, _Header(), ()
    if not (value.isascii() and value.isprintable()):
        raise SpecError(f"the key in {key.variable} has characters that no HTTP header can carry")
    return root, _Header(key.header, key.prefix + value), (value,)


def _reason(problem: BaseException) -> str:
    """The innermost reason, in words; ``requests`` wraps those of urllib3."""
    inner = problem.args[0] if problem.args else None
    inner = getattr(inner, "reason", None) or inner
    return str(inner if isinstance(inner, BaseException) else problem)
