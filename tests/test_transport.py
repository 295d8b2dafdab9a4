"""Keys that never show, and waits that are bounded."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any
from urllib.parse import quote

import pytest

from igpo_gym.errors import SpecError
from igpo_gym.transport import API_KEY, LONGEST_WAIT, Server, ServerError, asked_wait, parallel
from tests.site import Raw, Refusal, Site, running, send

KEY = "sk-nobody-must-see-this"
PASSWORD = "p@ss/word"


@pytest.fixture
def site() -> Any:
    with running({"/ok": lambda body: {"got": body}}) as site:
        yield site


def server(url: str, **settings: Any) -> Server:
    return Server(url, **({"timeout": 30.0, "retries": 1, "backoff": 0.0, "concurrency": 2} | settings))


def test_json_goes_both_ways(site: Site) -> None:
    to = server(site.url)
    assert to.post("/ok", [1, None, "ü"]) == {"got": [1, None, "ü"]}
    assert to.get("/ok") == {"got": None}
    assert "Authorization" not in site.headers[0]


def test_the_key_is_sent_and_never_shown(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(API_KEY, f" {KEY}\n")
    caplog.set_level(logging.DEBUG)

    def tells(_: Any) -> Any:
        raise Refusal(401, {"error": f"Incorrect API key provided: {KEY}. {KEY * 20}"})

    def tells_late(_: Any) -> Any:
        raise Raw(lambda handler: send(handler, 200, f"<p>{handler.headers['Authorization']}".encode()))

    site.routes |= {"/tells": tells, "/late": tells_late}
    to = server(site.url)
    errors = []
    for path in ("/tells", "/late"):
        with pytest.raises(ServerError) as caught:
            to.get(path)
        errors.append(caught.value)
    assert [headers["Authorization"] for headers in site.headers] == [f"Bearer {KEY}"] * 2
    assert "Incorrect API key provided: ***" in str(errors[0])
    assert "Bearer ***" in str(errors[1])
    assert all(error.__cause__ is None or KEY not in str(error.__cause__) for error in errors)
    assert KEY[:5] not in str(errors[0])
    assert KEY not in caplog.text + repr(to) + str(vars(to)["_session"].auth)


def test_user_and_password_are_sent_and_never_shown(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def tells(_: Any) -> Any:
        raise Raw(
            lambda handler: send(handler, 400, f"{handler.headers['Authorization']} {PASSWORD}".encode())
        )

    site.routes["/tells"] = tells
    to = server(site.url.replace("//", "//jane:p%40ss%2Fword@"))
    with pytest.raises(ServerError, match=r"400 .*Basic \*\*\* \*\*\*") as caught:
        to.get("/tells")
    token = base64.b64encode(f"jane:{PASSWORD}".encode()).decode()
    assert site.headers[0]["Authorization"] == f"Basic {token}"
    for secret in (token, PASSWORD, "p%40ss%2Fword", "jane"):
        assert secret not in str(caught.value) + to.url + caplog.text


@pytest.mark.parametrize(
    "escape", [lambda key: json.dumps(key).replace("/", "\\/"), quote, lambda key: key.replace("/", "&#x2F;")]
)
def test_a_key_that_a_server_repeats_escaped_is_not_shown(
    site: Site, monkeypatch: pytest.MonkeyPatch, escape: Callable[[str], str]
) -> None:
    key = 'aB3/xYz+secret"/9'
    monkeypatch.setenv(API_KEY, key)
    site.routes["/tells"] = lambda _: _raised(
        Raw(lambda to: send(to, 401, f"unknown {escape(key)}".encode()))
    )
    with pytest.raises(ServerError, match=r"401 .*: its words repeat a key$") as caught:
        server(site.url).get("/tells")
    assert "xYz" not in str(caught.value)


def _raised(problem: Exception) -> None:
    raise problem


def test_a_wrong_url_does_not_show_its_password() -> None:
    with pytest.raises(SpecError) as caught:
        server(f"http://jane:{KEY}@host:port")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"timeout": 0}, "timeout=0 for http://host must be above 0"),
        ({"timeout": float("nan")}, "timeout=nan .* above 0"),
        ({"retries": -1}, "retries=-1 .* at least 0"),
        ({"backoff": -0.5}, r"backoff=-0\.5 .* at least 0"),
        ({"concurrency": 0}, "concurrency=0 .* at least 1"),
    ],
)
def test_a_wrong_setting_is_named(setting: dict[str, float], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        server(f"http://jane:{KEY}@host", **setting)


def test_a_netrc_file_is_not_looked_at(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login jane password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server(site.url).get("/ok")
    assert "Authorization" not in site.headers[0]


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel", "tab\tbed"])
def test_a_key_that_cannot_be_sent(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY, key)
    with pytest.raises(SpecError, match=API_KEY) as caught:
        server("http://127.0.0.1:9")
    assert key not in str(caught.value)


def test_cookies_are_not_kept(site: Site) -> None:
    def sets(_: Any) -> Any:
        raise Refusal(200, {}, {"Set-Cookie": "session=1"})

    site.routes["/sets"] = sets
    to = server(site.url)
    to.get("/sets")
    to.get("/ok")
    assert "Cookie" not in site.headers[1]


class Echo(BaseHTTPRequestHandler):
    """Says again what it was told, and keeps connections open."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        told = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_forked_processes_share_no_connection() -> None:
    """On one connection they would read each other's answers, without an error."""
    context = multiprocessing.get_context("fork")
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as echo:
        Thread(target=echo.serve_forever, daemon=True).start()
        to = server(f"http://127.0.0.1:{echo.server_port}")
        to.post("/", 0)  # a connection is there, and idle
        heard = context.Queue()

        def ask(name: int) -> None:
            told = [to.post("/", [name, number]) for number in range(30)]
            heard.put(told == [[name, number] for number in range(30)])

        children = [context.Process(target=ask, args=(name,), daemon=True) for name in range(3)]
        for child in children:
            child.start()
        assert [heard.get(timeout=60) for _ in children] == [True] * 3
        assert to.post("/", 1) == 1
        echo.shutdown()


def test_chunked_and_compressed_answers_are_read(site: Site) -> None:
    content = gzip.compress(json.dumps({"list": list(range(50_000))}).encode())

    def chunks(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        for start in range(0, len(content), 5000):
            piece = content[start : start + 5000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    def route(_: Any) -> Any:
        raise Raw(chunks)

    site.routes["/chunks"] = route
    assert server(site.url).get("/chunks") == {"list": list(range(50_000))}


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        ("86400", LONGEST_WAIT),
        (formatdate(4e9, usegmt=True), LONGEST_WAIT),
        (formatdate(0, usegmt=True), 0.0),
        ("soon", None),
        ("Mon, 01 Jan 99999999999 00:00:00 GMT", None),
        ("9" * 5000, LONGEST_WAIT),
        ("²", None),
        (None, None),
    ],
)
def test_retry_after_is_honored_within_bounds(asked: str | None, seconds: float | None) -> None:
    assert asked_wait(asked) == seconds


def test_a_date_that_cannot_be_is_waited_for_as_if_there_were_none(site: Site) -> None:
    asked = []

    def busy(_: Any) -> Any:
        asked.append(1)
        if len(asked) < 3:
            raise Refusal(429, {}, {"Retry-After": "Mon, 01 Jan 99999999999 00:00:00 GMT"})
        return "at last"

    site.routes["/busy"] = busy
    assert server(site.url, retries=2).get("/busy") == "at last"


# Servers that never come to an end. Each writes until the connection is gone.

ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "status": (b"HTTP/1.1 200 ", b"O"),
    "headers": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk extensions": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", b"x"),
    "chunks of a byte": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "body of unknown length": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "empty gzip": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", gzip.compress(b"")),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_no_trickle_stretches_the_time_that_an_answer_may_take(kind: str, site: Site) -> None:
    first, more = ENDLESS[kind]
    ended = Event()

    def trickle(handler: Any) -> None:
        handler.close_connection = True
        with contextlib.suppress(OSError):
            handler.wfile.write(first)
            while not ended.wait(0.02):
                handler.wfile.write(more)

    def route(_: Any) -> Any:
        raise Raw(trickle)

    site.routes["/slow"] = route
    try:
        with pytest.raises(ServerError, match=r"no whole answer .* within the timeout of 0\.3 seconds"):
            server(site.url, timeout=0.3, retries=2).get("/slow")
    finally:
        ended.set()
    assert len(site.seen) == 1, "what is late is not asked for again"


def test_a_connection_serves_again_after_its_deadline_was_met(site: Site) -> None:
    to = server(site.url, timeout=30.0)
    assert [to.get("/ok") for _ in range(3)] == [{"got": None}] * 3
    assert len({headers["port"] for headers in site.headers}) == 1, "one connection for all three"


# Answers that are too long.


def declared(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(10 << 30))
    handler.end_headers()


def endless(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b" " * 65536)


@cache
def packed() -> bytes:
    """256 MB of zeros, in a quarter of one."""
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()


def unpacked(handler: Any) -> None:
    send(handler, 200, packed(), {"Content-Encoding": "gzip"})


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("write", [declared, endless, unpacked])
def test_an_answer_that_is_too_long_is_refused_while_it_is_read(write: Any, status: int, site: Site) -> None:
    def route(_: Any) -> Any:
        def answer(handler: Any) -> None:
            respond = handler.send_response
            handler.send_response = lambda _: respond(status)
            with contextlib.suppress(OSError):
                write(handler)

        raise Raw(answer)

    site.routes["/long"] = route
    packed()
    tracemalloc.start()
    try:
        with pytest.raises(ServerError, match=r"more than the 1,000 bytes that are accepted"):
            server(site.url).get("/long", max_bytes=1000)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert len(site.seen) == 1


def test_an_answer_of_just_the_size_is_read(site: Site) -> None:
    site.routes["/size"] = lambda _: "x" * 998
    assert server(site.url).get("/size", max_bytes=1000) == "x" * 998
    with pytest.raises(ServerError, match="more than the 999 bytes"):
        server(site.url).get("/size", max_bytes=999)


# Several at a time, and Ctrl-C.


def test_calls_run_side_by_side_and_keep_their_order() -> None:
    meeting = Barrier(3)

    def call(item: int) -> int:
        meeting.wait(30)
        return item * item

    assert parallel(call, [3, 1, 2], most=3) == [9, 1, 4]


def test_a_failure_drops_what_has_not_begun() -> None:
    begun, raised = [], Event()

    def call(item: int) -> int:
        begun.append(item)
        if item == 0:
            raise OSError("the first")
        raised.wait(30)
        return item

    with pytest.raises(OSError, match="the first"):
        parallel(call, range(1000), most=1)
    raised.set()
    assert len(begun) <= 2


HANGING = """
import signal, sys
from igpo_gym.transport import Server, parallel
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without it
server = Server(sys.argv[1], timeout=3600.0, retries=5, backoff=60.0, concurrency=4)
try:
    parallel(lambda _: server.get("/hangs"), range(int(sys.argv[2])), 4)
except KeyboardInterrupt:
    server.close()
    print("stopped")
"""


@pytest.mark.parametrize("requests", [1, 8])
def test_ctrl_c_ends_a_program_whose_server_hangs(requests: int, site: Site) -> None:
    asked, ended = Event(), Event()

    def hang(_: Any) -> Any:
        asked.set()
        ended.wait(60)

    site.routes["/hangs"] = hang
    program = subprocess.Popen(
        [sys.executable, "-c", HANGING, site.url, str(requests)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert asked.wait(60)
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=30) == ("stopped\n", None)
    finally:
        ended.set()
        program.kill()
    assert program.returncode == 0
