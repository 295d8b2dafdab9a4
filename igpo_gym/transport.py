"""JSON over HTTP with a server that may be slow, busy or broken, and a key that never shows."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from threading import BoundedSemaphore, Event, Thread
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError, ReadTimeoutError

from igpo_gym.connections import PunctualAdapter, TooLongError, content
from igpo_gym.errors import SpecError
from igpo_gym.text import printable, repeats

A = TypeVar("A")
R = TypeVar("R")

API_KEY = "IGPO_GYM_API_KEY"
"""The environment variable with the key that a server wants as its bearer token."""

RETRIED = (429, 500, 502, 503, 504)
"""The statuses of a server that is busy or broken for the moment."""

LONGEST_WAIT = 30.0
"""Seconds between two attempts at most, whatever the server asks for."""

CONNECTING = 10.0
"""Seconds that making a connection may take."""

ANSWER_BYTES = 16 << 20
"""How long an answer may be, unpacked, where the caller does not say."""

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

    ``status`` is the HTTP status of the answer, and None if there was none; ``words`` are the server's own.
    """

    def __init__(self, problem: str, status: int | None = None, words: str = "") -> None:
        super().__init__(f"{problem}: {words}" if words else problem)
        self.problem, self.status, self.words = problem, status, words

    def without(self, texts: Iterable[str]) -> str:
        """What it says, less the server's words where they repeat one of these texts (see ``repeats``)."""
        told = self.words and any(repeats(self.words, text) for text in texts)
        return f"{self.problem}: its words repeat what it was asked" if told else str(self)


_inherited: list[requests.Session] = []
"""Sessions of a parent process, which must be neither used nor closed after a fork."""


class Server:
    """One server, whose root is ``url`` less a trailing ``/v1``. Safe to use from many threads.

    The key is a user and password in the URL, or else what ``key`` names, if it is there; with None no key of
    the environment is sent. ``timeout`` (seconds) is how long an answer may take, from the request to its
    last byte, whatever trickles in between; one that is late is not asked for again, for the server has work
    enough. An attempt that meets a connection error or one of the ``RETRIED`` statuses, or whose answer
    breaks off, is repeated up to ``retries`` times: at once, then after ``backoff`` * 2, 4, 8, ... seconds
    and a random part of ``backoff``, or when the server's Retry-After asks for it, but after ``LONGEST_WAIT``
    at the latest. At most ``concurrency`` requests are under way at a time.

    Raises SpecError for what is not the URL of an HTTP server, for a key that cannot be sent, and for a
    setting that makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        retries: int,
        backoff: float,
        concurrency: int,
        key: Key | None = Key(),
    ) -> None:
        self.url, auth, self._secrets = _address(url, key)
        if not timeout > 0:
            raise SpecError(f"timeout={timeout} for {self.url} must be above 0")
        for name, value, least in [
            ("retries", retries, 0),
            ("backoff", backoff, 0),
            ("concurrency", concurrency, 1),
        ]:
            if not value >= least:
                raise SpecError(f"{name}={value} for {self.url} must be at least {least}")
        self._key = key
        self._timeout = timeout
        self._retries = retries
        self._backoff = backoff
        self._closed = Event()
        self._auth, self._concurrency = auth, concurrency
        self._connect()

    def _connect(self) -> None:
        """Make a session, for this process alone."""
        session = requests.Session()
        session.auth = self._auth
        # Sessions may be shared by threads as long as none of their state changes: no cookies are kept.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = PunctualAdapter(pool_connections=1, pool_maxsize=self._concurrency)
        for scheme in ("http://", "https://"):
            session.mount(scheme, adapter)
        self._under_way, self._session = BoundedSemaphore(self._concurrency), session
        self._process = os.getpid()

    @property
    def has_key(self) -> bool:
        """Whether requests carry a key, or a user and password."""
        return bool(self._secrets)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed.is_set()

    def get(self, path: str, *, max_bytes: int = ANSWER_BYTES) -> Any:
        """The JSON at ``path``, of at most ``max_bytes``. Raises ServerError."""
        return self._exchange("GET", path, None, max_bytes)

    def post(self, path: str, body: object, *, max_bytes: int = ANSWER_BYTES) -> Any:
        """The JSON that answers ``body``, of at most ``max_bytes``. Raises ServerError."""
        return self._exchange("POST", path, json.dumps(body, allow_nan=False).encode(), max_bytes)

    def close(self) -> None:
        """Close the connections that are idle. What is under way is not repeated, and not waited for."""
        self._closed.set()
        self._session.close()

    def _exchange(self, method: str, path: str, body: bytes | None, max_bytes: int) -> Any:
        # After a fork two processes would read each other's answers on one connection.
        if self._process != os.getpid():
            _inherited.append(self._session)
            self._connect()
        with self._under_way:
            for attempt in range(1, self._retries + 2):
                if self.closed:
                    raise ServerError(f"the connection to {self.url} is closed")
                asked = None
                try:
                    response, content = self._attempt(method, path, body, max_bytes)
                except (requests.ReadTimeout, ReadTimeoutError, TimeoutError):
                    late = f"no whole answer from {self.url} within the timeout of {self._timeout:g} seconds"
                    raise self._error(late) from None
                except requests.ConnectionError as problem:
                    failure = self._error(f"no answer from {self.url}: {_reason(problem)}")
                except (requests.RequestException, TooLongError) as problem:
                    raise self._error(f"no answer from {self.url}: {_reason(problem)}") from None
                except (HTTPError, OSError) as problem:
                    failure = self._error(f"{self.url} broke off its answer: {_reason(problem)}")
                else:
                    if response.status_code not in RETRIED:
                        return self._read(path, response, content)
                    failure = self._refusal(path, response, content)
                    asked = asked_wait(response.headers.get("Retry-After"))
                if attempt <= self._retries:
                    self._closed.wait(asked or self._pause(attempt))
        raise failure

    def _attempt(
        self, method: str, path: str, body: bytes | None, max_bytes: int
    ) -> tuple[requests.Response, bytes]:
        response = self._session.request(
            method,
            self.url + path,
            data=body,
            headers={"Content-Type": "application/json"} if body is not None else {},
            timeout=(min(CONNECTING, self._timeout), self._timeout),
            stream=True,
            allow_redirects=False,
        )
        with response:
            return response, content(response.raw, max_bytes)

    def _pause(self, attempt: int) -> float:
        if attempt == 1:
            return 0.0
        return min(self._backoff * (2.0 ** min(attempt - 1, 30) + random.random()), LONGEST_WAIT)

    def _read(self, path: str, response: requests.Response, content: bytes) -> Any:
        if response.status_code != requests.codes.ok:
            raise self._refusal(path, response, content)
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            problem = f"{self.url}{path} answered with what is not JSON"
            raise self._error(problem, content, response.status_code) from None

    def _refusal(self, path: str, response: requests.Response, content: bytes) -> ServerError:
        status = response.status_code
        hint = f"; its key belongs in {self._key.variable}" if self._key and status in (401, 403) else ""
        return self._error(f"{self.url}{path} answered {status} {response.reason}{hint}", content, status)

    def _error(self, problem: str, content: bytes = b"", status: int | None = None) -> ServerError:
        words = printable(" ".join(content.decode("utf-8", "replace").split()))
        for secret in self._secrets:  # before anything is cut off, or half of one could stay
            problem, words = problem.replace(secret, "***"), words.replace(secret, "***")
        if any(repeats(words, secret) for secret in self._secrets):  # escaped, or in pieces
            words = "its words repeat a key"
        if len(words) > SHOWN_CHARACTERS:
            words = f"{words[:SHOWN_CHARACTERS]}..."
        return ServerError(problem, status, words)


def parallel(call: Callable[[A], R], items: Sequence[A], most: int) -> list[R]:
    """What ``call`` returns for each item, in order, with up to ``most`` calls at a time in threads.

    The first failure is raised, and what has not begun by then is dropped. The threads are daemons: one that
    hangs at a server keeps neither Ctrl-C nor the end of the program waiting, as those of
    ``concurrent.futures`` do.

    >>> parallel(abs, [-1, 2, -3], most=2)
    [1, 2, 3]
    """
    if len(items) < 2:
        return [call(item) for item in items]
    futures: list[Future[R]] = [Future() for _ in items]
    waiting = deque(zip(futures, items, strict=True))

    def work() -> None:
        while True:
            try:
                future, item = waiting.popleft()
            except IndexError:
                return
            try:
                future.set_result(call(item))
            except BaseException as problem:
                future.set_exception(problem)

    for _ in range(min(most, len(items))):
        Thread(target=work, name="igpo-gym-request", daemon=True).start()
    try:
        return [future.result() for future in futures]
    finally:
        waiting.clear()


def asked_wait(header: str | None) -> float | None:
    """The seconds that a Retry-After asks for, at most ``LONGEST_WAIT``; None where it cannot be read.

    >>> asked_wait("7"), asked_wait("86400"), asked_wait("Mon, 01 Jan 99999999999 00:00:00 GMT")
    (7.0, 30.0, None)
    """
    if header is None:
        return None
    try:
        seconds = float(header) if header.strip().isdecimal() else _seconds_until(header)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _seconds_until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()


def answer_bytes(tokens: int) -> int:
    """How long a language model's answer about so many tokens may be, generously: a token with its
    log-probability, rank and text takes 100 to 200 bytes.

    >>> answer_bytes(1000)
    3121152
    """
    return (2 << 20) + 1024 * tokens


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
    return _POOL.sub("", str(inner if isinstance(inner, BaseException) else problem))


_POOL = re.compile(r"^\w+\(host=[^)]*\): ")
"""What urllib3 begins its reasons with; the URL says more."""
