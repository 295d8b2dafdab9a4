"""Load is spread, and a server that fails is left out for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Barrier, Thread
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from igpo_gym.errors import AccessError, SearchError
from igpo_gym.search.replicas import FIRST_PAUSE, LONGEST_PAUSE, Replicas
from igpo_gym.transport import Server
from tests.site import Refusal, Site, running


class Clock:
    """A time that stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def sites() -> Iterator[list[Site]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running({"/x": lambda _, name=name: name})) for name in "abc"]


def made(sites: list[Site], clock: Clock | None = None) -> Replicas:
    servers = [Server(site.url, timeout=30.0, retries=0, backoff=0.0, concurrency=8) for site in sites]
    return Replicas(servers, clock or Clock())


def post(replicas: Replicas) -> Any:
    return replicas.post("/x", {}, 1000, lambda answer: answer)


def fails(status: int) -> Any:
    def route(_: Any) -> Any:
        raise Refusal(status, "failed")

    return route


def test_requests_go_round(sites: list[Site]) -> None:
    replicas = made(sites)
    assert [post(replicas) for _ in range(6)] == list("abcabc")


def test_the_one_with_the_fewest_requests_under_way_is_asked(sites: list[Site]) -> None:
    replicas, meeting, leaving = made(sites), Barrier(3), Barrier(3)

    def waits(_: Any) -> Any:
        meeting.wait(30)
        leaving.wait(30)
        return "late"

    for site in sites[:2]:
        site.routes["/x"] = waits
    threads = [Thread(target=post, args=(replicas,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    meeting.wait(30)
    assert [post(replicas) for _ in range(4)] == ["c"] * 4
    leaving.wait(30)
    for thread in threads:
        thread.join()


def test_a_request_that_failed_goes_to_another_and_the_dead_one_is_left_out(sites: list[Site]) -> None:
    clock = Clock()
    replicas = made(sites[:2], clock)
    sites[0].routes["/x"] = fails(500)
    assert [post(replicas) for _ in range(5)] == ["b"] * 5
    assert len(sites[0].seen) == 1
    for number in range(1, 40):  # the pause grows, up to a limit
        pause = min(FIRST_PAUSE * 2 ** (number - 1), LONGEST_PAUSE)
        clock.now += pause - 0.001
        assert post(replicas) == "b"
        assert len(sites[0].seen) == number
        clock.now += 0.002
        assert [post(replicas) for _ in range(2)] == ["b", "b"]
        assert len(sites[0].seen) == number + 1
    sites[0].routes["/x"] = lambda _: "a"
    clock.now += LONGEST_PAUSE
    assert {post(replicas) for _ in range(2)} == {"a", "b"}
    sites[0].routes["/x"] = fails(500)
    assert [post(replicas) for _ in range(2)] == ["b", "b"]
    clock.now += FIRST_PAUSE + 0.001  # it begins anew
    sites[0].routes["/x"] = lambda _: "a"
    assert {post(replicas) for _ in range(2)} == {"a", "b"}


def test_failures_side_by_side_count_once(sites: list[Site]) -> None:
    clock, meeting = Clock(), Barrier(4)
    replicas = made(sites[:1], clock)

    def fail(_: Any) -> Any:
        meeting.wait(30)
        raise Refusal(500, "failed")

    sites[0].routes["/x"] = fail

    def quietly() -> None:
        with pytest.raises(SearchError):
            post(replicas)

    threads = [Thread(target=quietly) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sites[0].routes["/x"] = lambda _: "a"
    clock.now += FIRST_PAUSE + 0.001
    assert post(replicas) == "a"


def test_where_all_are_dead_the_search_is_unavailable(sites: list[Site]) -> None:
    replicas = made(sites)
    for site in sites:
        site.routes["/x"] = fails(503)
    with pytest.raises(SearchError, match=r"503.*failed"):
        post(replicas)
    with pytest.raises(SearchError, match=r"503.*failed.*asked again in 0\.5 seconds"):
        post(replicas)
    assert [len(site.seen) for site in sites] == [1, 1, 1]


def test_a_wrong_answer_is_the_servers_fault_and_a_refused_request_is_not(sites: list[Site]) -> None:
    replicas = made(sites[:2])
    sites[0].routes["/x"] = fails(422)
    with pytest.raises(SearchError, match="422"):
        post(replicas)
    assert post(replicas) == "b"
    assert len(sites[1].seen) == 1
    sites[0].routes["/x"] = lambda _: "wrong"

    def read(answer: Any) -> Any:
        if answer == "wrong":
            raise ValueError("that is wrong")
        return answer

    assert [replicas.post("/x", {}, 1000, read) for _ in range(4)] == ["b"] * 4
    assert len(sites[0].seen) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_run(status: int, sites: list[Site]) -> None:
    sites[0].routes["/x"] = fails(status)
    with pytest.raises(AccessError, match="IGPO_GYM_API_KEY"):
        post(made(sites))


SECRET = 'Which port of "Müller" is meant?'


@pytest.mark.parametrize(
    "words",
    [
        f"bad query: {SECRET}",
        f"bad query: {SECRET.upper()}".replace(" ", "\n  "),
        f"bad query: {quote(SECRET)}",
        f"bad query: {quote_plus(SECRET)}",
        f"bad query: {json.dumps(SECRET)}",
        "e" * 280 + SECRET,  # what is shown ends within it
    ],
)
@pytest.mark.parametrize("status", [422, 500, 403])
def test_an_error_does_not_repeat_what_is_hidden(words: str, status: int, sites: list[Site]) -> None:
    def refuses(_: Any) -> Any:
        raise Refusal(status, words)

    sites[0].routes["/x"] = refuses
    with pytest.raises((SearchError, AccessError), match="its words repeat what it was asked") as told:
        made(sites[:1]).post("/x", {}, 1000, lambda answer: answer, hidden=[SECRET])
    assert "port" not in str(told.value).lower()
    assert str(status) in str(told.value)


def test_an_error_tells_what_a_server_says_of_other_things(sites: list[Site]) -> None:
    sites[0].routes["/x"] = fails(422)
    with pytest.raises(SearchError, match=r"422.*failed"):
        made(sites[:1]).post("/x", {}, 1000, lambda answer: answer, hidden=[SECRET, "f", ""])
