"""Keys that never show, and waits that are bounded."""

from __future__ import annotations

import base64
import gzip
import json
import logging
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from urllib3 import HTTPResponse

from igpo_gym.errors import SpecError
from igpo_gym.transport import API_KEY, LONGEST_WAIT, Server, ServerError, _Patience
from tests.scorers.servers import Raw, Refusal, Site, running, send

KEY = "sk-nobody-must-see-this"
PASSWORD = "p@ss/word"


@pytest.fixture
def site() -> Any:
    with running({"/ok": lambda body: {"got": body}}) as site:
        yield site


def server(url: str, **settings: Any) -> Server:
    return Server(url, **({"timeout": 30.0, "retries": 1, "backoff": 0.0, "connections": 2} | settings))


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


def test_a_wrong_url_does_not_show_its_password() -> None:
    with pytest.raises(SpecError) as caught:
        server(f"http://jane:{KEY}@host:port")
    assert KEY not in str(caught.value)


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
        (None, None),
    ],
)
def test_retry_after_is_honored_within_bounds(asked: str | None, seconds: float | None) -> None:
    response = HTTPResponse(headers={} if asked is None else {"Retry-After": asked}, status=429)
    assert _Patience().get_retry_after(response) == seconds
