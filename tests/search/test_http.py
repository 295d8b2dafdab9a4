"""Retrievers behind a URL, in every dialect, and what goes wrong with them."""

from __future__ import annotations

import copy
import gc
import pickle
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import gymnasium as gym
import pytest

from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import AccessError, SearchError, SpecError
from igpo_gym.search.http import HTTPSearch
from igpo_gym.search.server import Limits
from igpo_gym.specs import resolve
from igpo_gym.tools import Open
from tests.search.servers import INDEX, contents, one_query, search_r1, transformed
from tests.site import Raw, Refusal, Route, send

BARE = QuestionSet("bare", ())
QUERIES = ["a river", "port of Danzig", "novel", "nothing of that kind: zebra", "a river"]


def search(spec: str) -> HTTPSearch:
    made = resolve("search", spec, questions=BARE)
    assert isinstance(made, HTTPSearch)
    return made


def told(found: list[list[Passage]]) -> list[list[tuple[str, str, str]]]:
    return [[(p.id, p.title, p.text) for p in passages] for passages in found]


def fails(status: int, body: Any = "failed") -> Route:
    def route(_: Any) -> Any:
        raise Refusal(status, body)

    return route


DIALECTS: Mapping[str, tuple[str, Route]] = {
    "Search-R1": ("queries+scores", search_r1(INDEX)),
    "one query, nested": ("query+scores", one_query(INDEX)),
    "one query, flat": ("query+scores", one_query(INDEX, nested=False)),
    "return_scores unknown": (
        "queries",
        lambda body: fails(422)(body) if "return_scores" in body else search_r1(INDEX)(body),
    ),
    "one query, return_scores unknown": (
        "query",
        lambda body: fails(500)(body) if {"return_scores", "queries"} & {*body} else one_query(INDEX)(body),
    ),
    "bare documents": ("queries+scores", transformed(INDEX, lambda p: {"id": p.id, "contents": contents(p)})),
    "title and text": (
        "queries+scores",
        transformed(INDEX, lambda p: {"id": p.id, "title": p.title, "text": p.text}),
    ),
    "topk ignored": (
        "queries+scores",
        transformed(INDEX, lambda p: {"id": p.id, "title": p.title, "text": p.text}, ignores_topk=True),
    ),
    "each document twice": (
        "queries+scores",
        lambda body: {"result": [2 * each for each in search_r1(INDEX)(body)["result"]]},
    ),
    "another name": ("queries+scores", lambda body: {"results": search_r1(INDEX)(body)["result"]}),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_finds_what_the_index_finds(name: str, start: Any) -> None:
    dialect, route = DIALECTS[name]
    site = start({"/retrieve": route})
    with_scores = name not in ("bare documents", "title and text", "topk ignored") and "unknown" not in name
    client = search(f"{site.url}/retrieve#retries=0")
    assert client.facts() == {"backend": "http", "dialect": dialect, "replicas": 1}
    expected = INDEX.search(QUERIES, 2)
    found = client.search(QUERIES, 2)
    assert told(found) == told(expected)
    scores = [[p.score for p in passages] for passages in expected]
    assert [[p.score for p in passages] for passages in found] == (
        scores if with_scores else [[0.0 for _ in each] for each in scores]
    )


def test_documents_without_ids_get_them_of_their_content(start: Any) -> None:
    site = start({"/retrieve": transformed(INDEX, lambda p: {"contents": contents(p)})})
    client = search(site.url)
    ids = [[p.id for p in found] for found in client.search(["Danzig", "river"], 3)]
    assert ids == [[p.id for p in found] for found in client.search(["Danzig", "river"], 3)]
    assert len({*ids[0]}) == len(ids[0]) == 2


@pytest.mark.parametrize("path", ["", "/", "/retrieve", "/retrieve/"])
def test_a_url_without_a_path_means_retrieve(path: str, start: Any) -> None:
    client = search(start({"/retrieve": search_r1(INDEX)}).url + path)
    assert told(client.search(["novel"], 3)) == told(INDEX.search(["novel"], 3))


def test_another_path_is_taken_as_it_is(start: Any) -> None:
    site = start({"/wiki/search": search_r1(INDEX)})
    search(f"{site.url}/wiki/search").search(["novel"], 3)
    assert {path for path, _ in site.seen} == {"/wiki/search", "/wiki/access"}


def test_equal_queries_are_asked_once_in_batches(start: Any) -> None:
    site = start({"/retrieve": search_r1(INDEX)})
    client = search(f"{site.url}#batch=3,concurrency=1")
    before = len(site.posts())
    queries = ["a river", "b", "a river", "c", "d", "e", "f", "g \ud800"]
    assert len(client.search(queries, 2)) == len(queries)
    asked = [body["queries"] for body in site.posts()[before:]]
    assert asked == [["a river", "b", "c"], ["d", "e", "f"], ["g ?"]]
    assert client.search([], 2) == []


def test_a_request_asks_for_no_more_passages_than_the_packages_server_gives(start: Any) -> None:
    site = start({"/retrieve": search_r1(INDEX)})
    client = search(f"{site.url}#concurrency=1")
    before = len(site.posts())
    client.search([f"query {number}" for number in range(70)], 600)
    asked = [(len(body["queries"]), body["topk"]) for body in site.posts()[before:]]
    assert asked == [(54, 600), (16, 600)]
    assert all(count * k <= Limits().max_results for count, k in asked)


def test_no_more_requests_at_a_time_than_allowed_over_pooled_connections(start: Any) -> None:
    answer, both = search_r1(INDEX), Barrier(2)

    def route(body: Any) -> Any:
        if body["queries"] in (["river 0"], ["river 1"]):  # the first of them waits until the other is there
            both.wait(30)
        return answer(body)

    site = start({"/retrieve": route})
    client = search(f"{site.url}#batch=1,concurrency=3")
    with ThreadPoolExecutor(8) as callers:
        calls = [
            callers.submit(client.search, [f"river {i}", f"port {i}", f"novel {i}"], 2) for i in range(16)
        ]
    for number, call in enumerate(calls):
        asked = [f"river {number}", f"port {number}", f"novel {number}"]
        assert told(call.result()) == told(INDEX.search(asked, 2))
    assert 1 < site.most_at_once <= 3
    assert len({headers["port"] for headers in site.headers}) <= 6, (
        "at most three, and those of the handshake"
    )


# Mistakes that are told before anything starts.


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SpecError, match=rf"no answer from http://127.0.0.1:{port}: .*igpo-gym serve search"):
        search(f"http://127.0.0.1:{port}/retrieve#retries=0")


@pytest.mark.parametrize(
    ("route", "error", "problem"),
    [
        (fails(404), SpecError, r"no search at this path.*/retrieve answered 404.*such as http://host"),
        (fails(405), SpecError, r"no search at this path.*405"),
        (fails(307), SpecError, r"no search at this path.*307"),
        (fails(401), AccessError, r"401.*IGPO_GYM_API_KEY"),
        (fails(403), AccessError, r"403"),
        (fails(503), SpecError, r"503.*igpo-gym serve search"),
        (fails(422), SpecError, r"does not speak the Search-R1 protocol.*'queries\+scores'.*422.*'query'"),
        (lambda _: {"error": "no index"}, SpecError, r"does not speak.*no list 'result'.*no index"),
        (lambda _: {"result": [[], []]}, SpecError, r"does not speak.*2 results for 1 queries"),
        (
            lambda _: raises(Raw(lambda handler: send(handler, 200, b"<html>\r\n<p>Welcome to nginx"))),
            SpecError,
            r"no search at this path.*not JSON: <html> <p>Welcome",
        ),
    ],
)
def test_a_server_that_cannot_search_is_refused_at_once(
    route: Route, error: type[Exception], problem: str, start: Any
) -> None:
    site = start({"/retrieve": route})
    with pytest.raises(error, match=problem) as caught:
        search(f"{site.url}/retrieve#retries=0")
    assert "\n" not in str(caught.value)


def raises(problem: Exception) -> Any:
    raise problem


@pytest.mark.parametrize(
    "spec",
    [
        "http://",
        "http:///retrieve",
        "http://host:port/retrieve",
        "http://host:99999/retrieve",
        "http://host/retrieve?key=1",
        "http://[::1/retrieve",
        "http://a/retrieve,http://b/search",
        "http://host#timeout=0",
        "http://host#batch=0",
        "http://host#concurrency=0",
        "http://host#retries=-1",
        "http://host#k=3",
    ],
)
def test_what_is_not_a_search_server_is_a_spec_error(spec: str) -> None:
    with pytest.raises(SpecError):
        search(spec)


def test_a_password_stands_in_no_message_and_no_pickle(start: Any) -> None:
    site = start({"/retrieve": search_r1(INDEX)})
    client = search(site.url.replace("//", "//jane:hunter2@"))
    assert site.headers[-1]["Authorization"].startswith("Basic ")
    shown = [repr(client), str(client.facts()), repr(pickle.dumps(client))]
    site.routes["/retrieve"] = fails(400)
    with pytest.raises(SearchError) as caught:
        client.search(["novel"], 3)
    assert "hunter2" not in "".join([*shown, str(caught.value)])


# Servers that were fine, and then fail.


@pytest.mark.parametrize(
    ("route", "problem"),
    [
        (lambda _: {"result": [[]]}, r"/retrieve answered wrongly: it gave 1 results for 2 queries"),
        (lambda _: {"result": [[], [{"x": 1}]]}, r"answered wrongly: a document has no text among .*x"),
        (
            lambda _: raises(Raw(lambda handler: send(handler, 200, b"<html>Bad gateway"))),
            r"not JSON: <html>Bad gateway",
        ),
        (lambda _: "x" * (8 << 20), r"more than the 5,505,024 bytes"),
        (fails(500), r"500"),
        (fails(404), r"404"),
        (fails(422, "a query is too long"), r"422.*too long"),
    ],
)
def test_a_server_that_fails_later_is_a_search_error(route: Route, problem: str, start: Any) -> None:
    site = start({"/retrieve": search_r1(INDEX)})
    client = search(f"{site.url}#retries=0")
    site.routes["/retrieve"] = route
    with pytest.raises(SearchError, match=problem) as caught:
        client.search(["a", "b"], 3)
    assert site.url in str(caught.value)


def test_a_key_that_is_refused_later_ends_the_run(start: Any) -> None:
    site = start({"/retrieve": search_r1(INDEX)})
    client = search(site.url)
    site.routes["/retrieve"] = fails(403)
    with pytest.raises(AccessError, match="403"):
        client.search(["a"], 3)


def test_a_text_in_place_of_a_list_is_refused(start: Any) -> None:
    client = search(start({"/retrieve": search_r1(INDEX)}).url)
    with pytest.raises(TypeError, match="a list of queries, not the text 'dog'"):
        client.search("dog", 3)
    with pytest.raises(ValueError, match="k must be at least 1"):
        client.search(["dog"], 0)


# Replicas.


def test_replicas_share_the_load_and_stand_in_for_each_other(start: Any) -> None:
    sites = [start({"/retrieve": search_r1(INDEX)}) for _ in range(3)]
    client = search(",".join(f"{site.url}/retrieve" for site in sites) + "#batch=1")
    assert client.facts()["replicas"] == 3
    before = [len(site.posts()) for site in sites]
    queries = [f"river {number}" for number in range(30)]
    assert told(client.search(queries, 2)) == told(INDEX.search(queries, 2))
    assert all(len(site.posts()) - count > 3 for site, count in zip(sites, before, strict=True))
    sites[0].routes["/retrieve"] = fails(500)
    sites[1].routes["/retrieve"] = lambda _: {"result": []}
    assert told(client.search(queries, 2)) == told(INDEX.search(queries, 2))
    sites[2].routes["/retrieve"] = fails(500)
    with pytest.raises(SearchError):
        client.search(queries, 2)


def test_a_replica_may_be_down_at_the_start_but_not_wrong(start: Any) -> None:
    site = start({"/retrieve": search_r1(INDEX)})
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = search(f"{nobody},{site.url}")
    assert told(client.search(["novel"], 2)) == told(INDEX.search(["novel"], 2))
    wrong = start({"/retrieve": fails(404)})
    with pytest.raises(SpecError, match="no search at this path"):
        search(f"{site.url},{wrong.url}")
    other = start({"/retrieve": one_query(INDEX)})
    with pytest.raises(SpecError, match="does not speak"):
        search(f"{site.url},{other.url}")


# Documents.


def test_documents_of_a_server_with_access(start: Any) -> None:
    pages = {"1": "Danzig\nA port at the mouth of the Vistula. Today Gdańsk."}

    def access(body: Any) -> Any:
        return {"result": [{"contents": pages[url]} if url in pages else None for url in body["urls"]]}

    site = start({"/retrieve": search_r1(INDEX), "/access": access})
    client = search(site.url)
    ids = ["9", "1"] * 10
    whole = (Passage("1", "Danzig", pages["1"].partition("\n")[2]),)
    assert client.documents(ids) == [(), whole] * 10  # type: ignore[attr-defined]
    assert max(len(body["urls"]) for body in site.posts() if "urls" in body) <= 8
    Open(client)  # type: ignore[arg-type]
    site.routes["/access"] = lambda _: {"result": []}
    with pytest.raises(SearchError, match="0 documents for 1 ids"):
        client.documents(["1"])  # type: ignore[attr-defined]


def test_without_access_the_tool_open_is_refused(start: Any, question_set: QuestionSet) -> None:
    site = start({"/retrieve": search_r1(INDEX)})
    with pytest.raises(SpecError, match=r"open needs .*HTTPSearch has no documents\(ids\).*/access"):
        gym.make(
            "SearchQA-v0",
            questions=question_set,
            search=site.url,
            tools="search + open",
            scorer=None,
            reward="outcome-f1",
        )


# Copies, and what is left behind.


def test_a_copy_is_the_retriever_and_a_pickle_one_of_its_own(start: Any) -> None:
    site = start(
        {"/retrieve": search_r1(INDEX), "/access": lambda body: {"result": [None for _ in body["urls"]]}}
    )
    client = search(f"{site.url}#batch=2")
    assert copy.deepcopy(client) is client
    asked = len(site.posts())
    again = pickle.loads(pickle.dumps(client))
    assert len(site.posts()) == asked, "nothing is tried out again"
    assert again.facts() == client.facts()
    assert again.documents(["1"]) == [()]
    assert told(again.search(["novel"], 3)) == told(client.search(["novel"], 3))


def test_an_environment_pickles_and_leaves_no_socket_open(start: Any, question_set: QuestionSet) -> None:
    site = start({"/retrieve": search_r1(INDEX)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(
            "SearchQA-v0", questions=question_set, search=site.url, scorer=None, reward="outcome-f1"
        )
        env.reset(seed=0)
        env.step("<search>The Tin Drum</search>")
        again = pickle.loads(pickle.dumps(env))
        assert again.step("<search>Danzig</search>")[0] == env.step("<search>Danzig</search>")[0]
        assert "A port at the mouth" in env.unwrapped.episode.turns[-1].observation
        copy.deepcopy(env).step("<search>Danzig</search>")
        env.close()
        again.close()
        del env, again
        gc.collect()


def test_looking_at_search_imports_no_server() -> None:
    script = "import sys, igpo_gym.search, igpo_gym.cli; print({'fastapi', 'uvicorn'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "set()"
