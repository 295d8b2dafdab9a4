"""The search server: Search-R1's protocol for everybody's clients, under load and in trouble."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import requests
from typer.testing import CliRunner

from igpo_gym.cli import app
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import AccessError, SearchError, SpecError
from igpo_gym.search import BM25Index
from igpo_gym.search.server import Limits, Line, make_app
from igpo_gym.serving import bound, serve
from igpo_gym.specs import resolve
from tests.conftest import PASSAGES as TINY
from tests.search.servers import INDEX, PASSAGES, command, contents, served
from tests.serving import left_alone, waits

QUERIES = ["a river", "port of Danzig", "novel", "zebra", "北京 lines", "a river"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(INDEX, Limits(max_queries=8, max_topk=50, max_results=200, max_bytes=4000)) as url:
        yield url


def fields(found: Sequence[Sequence[Passage]]) -> list[list[tuple[str, str, str, float]]]:
    return [[(p.id, p.title, p.text, p.score) for p in passages] for passages in found]


# Everybody's clients.


def test_search_r1(url: str) -> None:
    asked = {"queries": QUERIES, "topk": 3, "return_scores": True}
    result = requests.post(f"{url}/retrieve", json=asked, timeout=30).json()["result"]
    expected = INDEX.search(QUERIES, 3)
    assert [
        [(item["document"]["id"], item["document"]["contents"], item["score"]) for item in found]
        for found in result
    ] == [[(p.id, contents(p), p.score) for p in passages] for passages in expected]


def test_a_score_that_is_no_number_is_null_as_json_has_no_other() -> None:
    scores = [float("nan"), float("inf"), np.float32(0.5)]

    class Odd:
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return [[Passage(str(place), "", "x", score) for place, score in enumerate(scores)]]

    with served(Odd(), Limits()) as url:
        asked = {"queries": ["x"], "topk": 3, "return_scores": True}
        text = requests.post(f"{url}/retrieve", json=asked, timeout=30).text
    assert [each["score"] for each in json.loads(text)["result"][0]] == [None, None, 0.5]
    assert "NaN" not in text


def test_search_r1_shows_titles_as_its_own_prompt_does(url: str) -> None:
    asked = {"queries": ["novel"], "topk": 3, "return_scores": True}
    (found,) = requests.post(f"{url}/retrieve", json=asked, timeout=30).json()["result"]
    title, *lines = found[0]["document"]["contents"].split("\n")
    assert f"Doc 1(Title: {title}) {chr(10).join(lines)}" == (
        'Doc 1(Title: "The Tin Drum") A novel of 1959 by Günter Grass.'
    )


def test_verl_slime_and_a_list_without_scores(url: str) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    asked = {"queries": ["Danzig"], "topk": 1, "return_scores": True}  # both send this
    found = requests.post(f"{url}/retrieve", headers=headers, json=asked, timeout=30).json()
    assert found["result"][0][0]["document"]["contents"] == contents(INDEX.search(["Danzig"], 1)[0][0])
    bare = requests.post(f"{url}/retrieve", json={"queries": ["Danzig"], "topk": 1}, timeout=30).json()
    assert bare["result"][0][0] == found["result"][0][0]["document"]


def test_skyrl_sends_one_query(url: str) -> None:
    asked = {"query": "Danzig", "topk": 2, "return_scores": True}
    many = {"queries": ["Danzig"], "topk": 2, "return_scores": True}
    one, same = (requests.post(f"{url}/retrieve", json=each, timeout=30).json() for each in (asked, many))
    assert one == same
    assert len(one["result"][0]) == 2


@pytest.mark.parametrize("topk", [None, 0, "absent"])
def test_three_passages_where_the_request_does_not_say(topk: Any, url: str) -> None:
    asked = {"queries": ["a river port Danzig novel title lines"], "topk": topk}
    if topk == "absent":
        del asked["topk"]
    (found,) = requests.post(f"{url}/retrieve", json=asked, timeout=30).json()["result"]
    assert len(found) == 3


def test_asearcher_reads_documents(url: str) -> None:
    whole, missing = requests.post(f"{url}/access", json={"urls": ["2", "99"]}, timeout=30).json()["result"]
    assert whole["contents"] == '"Danzig"\nA port at the mouth of the Vistula.\nToday Gdańsk.'
    assert missing is None


def test_health(url: str) -> None:
    told = requests.get(f"{url}/health", timeout=30).json()
    assert (told["status"], told["passages"], told["fingerprint"]) == ("ok", len(PASSAGES), "hash")


# Our own client.


def test_our_client_gets_what_the_index_gives(url: str) -> None:
    client = resolve("search", url)
    assert fields(client.search(QUERIES, 3)) == fields(INDEX.search(QUERIES, 3))
    ids = [passage.id for passage in PASSAGES] + ["99"]
    assert [fields([document]) for document in client.documents(ids)] == [
        fields([document]) for document in INDEX.documents(ids)
    ]


def test_an_episode_over_http_is_that_of_the_index(question_set: QuestionSet) -> None:
    played = []
    settings = {"questions": question_set, "tools": "search + open", "scorer": None, "reward": "outcome-f1"}
    with served(BM25Index.build(TINY)) as url:
        for search in (None, url, f"{url}/retrieve#batch=1"):
            env = gym.make("SearchQA-v0", search=search, **settings)
            env.reset(seed=0)
            played.append(
                [
                    env.step("<search>The Tin Drum</search>")[0],
                    env.step("<open>The Tin Drum</open>")[0],
                    env.step("<answer>Günter Grass</answer>")[1:3],
                ]
            )
            env.close()
    assert played[0] == played[1] == played[2]
    assert "The Tin Drum is a novel of 1959" in played[0][0]
    assert "page 1 of 1" in played[0][1]


# Mistakes of those who ask.


@pytest.mark.parametrize(
    ("asked", "status", "problem"),
    [
        (b"{", 422, "the body must be JSON"),
        (b"[" * 3000, 422, "the body must be JSON"),
        (b"[]", 422, "the body must be a JSON object"),
        (b"{}", 422, "queries must be a list of texts, not None"),
        ({"queries": "Danzig"}, 422, "queries must be a list of texts, not 'Danzig'"),
        ({"queries": ["Danzig", 3]}, 422, r"queries must be a list of texts, not \['Danzig', 3\]"),
        ({"queries": ["x"] * 9}, 422, "a request may hold 8 queries, not 9"),
        ({"queries": ["x"], "topk": 51}, 422, "topk must be a whole number from 1 to 50, not 51"),
        ({"queries": ["x"] * 5, "topk": 41}, 422, "a request may ask for 200 passages, not 5 times 41"),
        ({"queries": ["x"], "topk": -1}, 422, "topk must be .* not -1"),
        ({"queries": ["x"], "topk": True}, 422, "topk must be .* not True"),
        ({"queries": ["x"], "topk": 1.5}, 422, "topk must be .* not 1.5"),
        ({"queries": ["x"], "return_scores": "yes"}, 422, "return_scores must be true or false, not 'yes'"),
        ({"queries": ["x" * 5000]}, 413, "a request may have 4000 bytes"),
    ],
)
def test_a_wrong_request_is_told_in_one_line(asked: Any, status: int, problem: str, url: str) -> None:
    content = asked if isinstance(asked, bytes) else json.dumps(asked)
    answer = requests.post(f"{url}/retrieve", data=content, timeout=30)
    assert answer.status_code == status
    assert re.fullmatch(problem, answer.json()["detail"])


def test_no_queries_are_no_mistake(url: str) -> None:
    assert requests.post(f"{url}/retrieve", json={"queries": []}, timeout=30).json() == {"result": []}


# Load.


class Slow:
    """An index whose first search waits until it is let go, and that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], int]] = []
        self.begun, self.go_on = Event(), Event()

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.asked.append((list(queries), k))
        if len(self.asked) == 1:
            self.begun.set()
            assert self.go_on.wait(60)
        if "bad" in queries:
            raise SearchError("no index")
        return INDEX.search(queries, k)


def ask(url: str, queries: list[str], k: int = 3) -> requests.Response:
    asked = {"queries": queries, "topk": k, "return_scores": True}
    return requests.post(f"{url}/retrieve", json=asked, timeout=60)


def waiting(url: str, index: Slow, queries: Sequence[str], callers: ThreadPoolExecutor) -> list[Any]:
    """Requests that came while the first one is searched; the health tells when they have all arrived."""
    calls = [callers.submit(ask, url, ["first"])]
    assert index.begun.wait(60)
    calls += [callers.submit(ask, url, [query]) for query in queries]
    return calls


def test_what_arrives_during_a_search_is_searched_together_and_alone_where_that_fails() -> None:
    index = Slow()
    with served(index) as url, ThreadPoolExecutor(16) as callers:
        queries = [f"river {number}" for number in range(10)] + ["bad"]
        calls = waiting(url, index, queries, callers)
        waits(url, len(queries))
        index.go_on.set()
        answers = [call.result() for call in calls]
        assert [answer.status_code for answer in answers] == [200] * 11 + [503]
        for query, answer in zip(queries[:-1], answers[1:], strict=False):
            (found,) = answer.json()["result"]
            expected = INDEX.search([query], 3)[0]
            assert [item["document"]["id"] for item in found] == [passage.id for passage in expected]
        assert "the search is unavailable: no index" in answers[-1].json()["detail"]
        assert answers[-1].headers["Retry-After"] == "1"
        assert [len(queries) for queries, _ in index.asked] == [1, 11] + [1] * 11


def test_requests_for_unlike_numbers_of_passages_are_searched_apart() -> None:
    index = Slow()
    with served(index) as url, ThreadPoolExecutor(16) as callers:
        calls = waiting(url, index, [], callers)
        numbers = [1, 2, 1, 2, 2]
        calls += [callers.submit(ask, url, [f"river {place}"], k) for place, k in enumerate(numbers)]
        waits(url, len(numbers))
        index.go_on.set()
        found = [call.result().json()["result"][0] for call in calls[1:]]
        assert [len(each) for each in found] == numbers
        assert sorted((k, len(queries)) for queries, k in index.asked[1:]) == [(1, 2), (2, 3)]


def test_beyond_the_queue_a_client_is_told_to_come_back() -> None:
    index = Slow()
    with served(index, Limits(waiting=2)) as url, ThreadPoolExecutor(16) as callers:
        calls = waiting(url, index, ["a", "b"], callers)
        waits(url, 2)
        refused = ask(url, ["c"])
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "too many requests wait" in refused.json()["detail"]
        index.go_on.set()
        assert [call.result().status_code for call in calls] == [200] * 3
        assert ask(url, ["c"]).status_code == 200


def test_what_nobody_waits_for_any_more_is_not_searched() -> None:
    """A client that was killed leaves its place to those who live."""
    index = Slow()
    with served(index, Limits(waiting=1)) as url, ThreadPoolExecutor(16) as callers:
        (first,) = waiting(url, index, [], callers)
        body = json.dumps({"queries": ["killed"]}).encode()
        with left_alone(url, "/retrieve", body):
            waits(url, 1)
        waits(url, 0)
        last = callers.submit(ask, url, ["last"])
        waits(url, 1)
        index.go_on.set()
        assert [call.result().status_code for call in (first, last)] == [200, 200]
        assert [queries for queries, _ in index.asked] == [["first"], ["last"]]


def test_many_clients_get_their_own_answers(url: str) -> None:
    client = resolve("search", f"{url}#batch=2,concurrency=24")
    queries = [[f"river {number}", f"{number} novel", "Danzig"] for number in range(60)]
    with ThreadPoolExecutor(24) as callers:
        found = list(callers.map(lambda each: client.search(each, 2), queries))
    assert [fields(each) for each in found] == [fields(INDEX.search(each, 2)) for each in queries]


@pytest.mark.parametrize(
    ("failure", "status", "detail"),
    [
        (SearchError("down"), 503, "the search is unavailable: down"),
        (OSError("disk"), 503, "the search is unavailable: disk"),
        (AccessError("no key"), 502, "no key"),
        (None, 500, "the search failed; the server's log tells why"),
        (RuntimeError("a secret of the program"), 500, "the search failed; the server's log tells why"),
    ],
)
def test_failures_of_an_index_are_answers(failure: Exception | None, status: int, detail: str) -> None:
    class Broken:
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            if failure is None:
                return []  # as no retriever may
            raise failure

    with served(Broken()) as url:
        answer = ask(url, ["x"])
        assert (answer.status_code, answer.json()) == (status, {"detail": detail})
        answer = requests.post(f"{url}/access", json={"urls": ["1"]}, timeout=30)
        assert (answer.status_code, answer.json()["detail"]) == (404, "this index gives no whole documents")


def test_the_log_tells_of_the_requests_since_its_last_line() -> None:
    line = Line(seconds=[n / 1000 for n in range(100, 0, -1)], queries=250, refused=3)
    told = "250 queries, p50 50.0 ms, p99 99.0 ms, 3 refused, 7 waiting"
    assert line.written(waiting=7) == f"100 requests, {told}"
    assert line.written(waiting=0).startswith("0 requests, 0 queries, p50 0.0 ms")


# The command.


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": p.id, "title": p.title, "text": p.text}) + "\n" for p in TINY))
    return path


def test_a_killed_server_is_an_outage_and_back_when_it_is_restarted(
    corpus: Path, question_set: QuestionSet
) -> None:
    process, url = command(corpus)
    settings: dict[str, Any] = {"questions": question_set, "scorer": None, "reward": "outcome-f1"}
    try:
        env = gym.make("SearchQA-v0", search=f"{url}#retries=0", max_turns=20, **settings)
        env.reset(seed=0)
        assert "novel of 1959" in env.step("<search>The Tin Drum</search>")[0]
        process.kill()
        process.communicate()
        reply, reward, *_ = env.step("<search>Danzig</search>")
        assert "unavailable" in reply
        assert reward == 0.0
        process, again = command(corpus, "--port", url.rpartition(":")[2])
        assert again == url
        assert "mouth of the Vistula" in env.step("<search>Danzig</search>")[0]
    finally:
        process.kill()
        process.communicate()


def test_a_server_of_this_machine_alone_answers_to_no_other_name(corpus: Path) -> None:
    """A page of the web whose own name leads to 127.0.0.1 sends that name."""
    process, url = command(corpus)
    port = url.rpartition(":")[2]
    try:
        for host, status in (("127.0.0.1", 200), ("LOCALHOST", 200), ("elsewhere.example", 400)):
            headers = {"Host": f"{host}:{port}"}
            asked = {"queries": ["Danzig"]}
            assert requests.get(f"{url}/health", headers=headers, timeout=30).status_code == status
            found = requests.post(f"{url}/retrieve", json=asked, headers=headers, timeout=30)
            assert (found.status_code, "Vistula" in found.text) == (status, status == 200)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_finishes_what_runs(signal_: signal.Signals, corpus: Path) -> None:
    process, url = command(corpus)
    address = (url.split("/")[2].split(":")[0], int(url.rpartition(":")[2]))
    body = json.dumps({"queries": ["Danzig"], "topk": 1}).encode()
    with socket.create_connection(address, timeout=60) as half:
        half.sendall(b"POST /retrieve HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert ask(url, ["Danzig"]).status_code == 200  # so the half request has arrived
        assert process.stderr is not None
        line = r"\d\d:\d\d:\d\d 1 requests, 1 queries, p50 (\d+\.\d) ms, p99 \1 ms, 0 refused, 0 waiting\n"
        assert re.fullmatch(line, process.stderr.readline())
        process.send_signal(signal_)
        half.sendall(body)
        answer = half.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"id": "danzig"' in answer
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert out == ""


def test_a_signal_before_it_listens_ends_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that comes while the server still starts, which no client can have seen."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with bound("127.0.0.1", 0) as sock:
            serve(make_app(INDEX), sock, lambda: signal.raise_signal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("index", ["bm25", "tests.search.test_server:asks"])
def test_what_searches_the_passages_of_questions_is_refused(index: str) -> None:
    done = CliRunner().invoke(app, ["serve", "search", index, "--port", "0"])
    assert done.exit_code == 2
    assert "a server has no questions" in " ".join(done.output.split())


def asks(questions: QuestionSet) -> BM25Index:
    return BM25Index.build(questions.passages)


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_what_is_not_installed_is_named_with_its_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("igpo_gym.search.server", "igpo_gym.serving"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    done = CliRunner().invoke(app, ["serve", "search", "nowhere"])
    assert done.exit_code == 2
    assert "pip install 'igpo-gym[serve]'" in " ".join(done.output.split())


def test_a_port_in_use_is_one_line(corpus: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            SpecError, match=rf"127.0.0.1:{port} \(address already in use\); choose another --port"
        ):
            bound("127.0.0.1", port)
    with pytest.raises(SpecError, match=r"nothing can listen at nowhere\.invalid"):
        bound("nowhere.invalid", 0)
