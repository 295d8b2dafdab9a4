"""Web search against servers that behave as the engines do, and as they do when they fail."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import AccessError, SearchError, SpecError
from igpo_gym.search import resolve_search
from igpo_gym.search.web import WebSearch
from igpo_gym.search.web.blocking import Blocklist
from igpo_gym.search.web.engines import ENGINES, passages
from igpo_gym.search.web.pace import Pace
from igpo_gym.transport import API_KEY
from tests.search.web.engines import KEY, PAGES, searxng, serper, tavily
from tests.search.web.site import Asked, Reply, Site, serving

ANSWERS: dict[str, Callable[..., Callable[[Asked], Reply]]] = {
    "serper": serper,
    "tavily": tavily,
    "searxng": searxng,
}
URLS = [url for url, _, _ in PAGES]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPER_API_KEY", KEY)
    monkeypatch.setenv("TAVILY_API_KEY", KEY)
    monkeypatch.setenv(API_KEY, "the key of another server")


def web(engine: str, site: Site, **options: Any) -> WebSearch:
    return WebSearch(engine, site.url, **{"backoff": 0.0, "retries": 1} | options)


def in_turn(*replies: Reply | Callable[[Asked], Reply]) -> Callable[[Asked], Reply]:
    """Answers one after the other; the last one again and again."""
    left = iter(replies)
    last = [replies[-1]]

    def answer(asked: Asked) -> Reply:
        reply = next(left, last[0])
        return reply if isinstance(reply, Reply) else reply(asked)

    return answer


@pytest.mark.parametrize("engine", ANSWERS)
def test_an_engine_is_asked_and_its_results_are_passages(engine: str) -> None:
    with serving(ANSWERS[engine]()) as site:
        retriever = web(engine, site)
        first, none, second = retriever.search(["Danzig port", " \n", "Gdańsk & Łódź #1"], 2)
    assert [(each.id, each.title, each.text) for each in first] == PAGES[:2]
    assert first == second
    assert none == []
    assert first[0].score > first[1].score
    assert {
        each.body["q" if engine == "serper" else "query"] if each.body else each.query["q"]
        for each in site.asked
    } == {
        "Danzig port",
        "Gdańsk & Łódź #1",
    }
    assert retriever.facts() == {"backend": engine, "requests": 2, "pages_read": 0, "pages_unread": 0}


def test_serper_is_asked_as_documented() -> None:
    with serving(serper()) as site:
        web("serper", site, after="2018-01-02", before="2020-12-31", country="pl", language="en").search(
            ["a"], 3
        )
        web("serper", site, before="2020-12-31").search(["a"], 250)
    first, second = site.asked
    assert (first.method, first.path, first.headers["X-API-KEY"]) == ("POST", "/search", KEY)
    assert "Authorization" not in first.headers
    assert first.body == {
        "q": "a",
        "num": 10,
        "gl": "pl",
        "hl": "en",
        "tbs": "cdr:1,cd_min:1/2/2018,cd_max:12/31/2020",
    }
    assert second.body == {"q": "a", "num": 100, "tbs": "cdr:1,cd_max:12/31/2020"}


def test_tavily_is_asked_as_documented() -> None:
    with serving(tavily()) as site:
        retriever = web(
            "tavily", site, after="2018-01-02", before="2020-12-31", country="poland", block="b.org+a.org/x"
        )
        retriever.search(["word " * 200], 50)
    (asked,) = site.asked
    assert (asked.method, asked.path, asked.headers["Authorization"]) == ("POST", "/search", f"Bearer {KEY}")
    assert asked.body == {
        "query": ("word " * 80).strip(),
        "max_results": 20,
        "exclude_domains": ["b.org"],
        "start_date": "2018-01-02",
        "end_date": "2020-12-31",
        "country": "poland",
    }


def test_searxng_is_asked_as_documented_and_gets_no_key() -> None:
    with serving(searxng()) as site:
        web("searxng", site, language="pl").search(["ü & b"], 3)
    (asked,) = site.asked
    assert asked.query == {"q": "ü & b", "format": "json", "language": "pl"}
    assert not {"Authorization", "X-API-KEY"} & set(asked.headers)


def test_blocked_domains_are_left_out_with_their_subdomains() -> None:
    leaks = [
        ("https://huggingface.co/datasets/hotpotqa/hotpot_qa", "hotpot_qa", "Q: Where? A: Danzig"),
        ("https://WWW.Kaggle.com/datasets/x", "x", "Q: Where? A: Danzig"),
        ("https://www.kaggle.com/learn", "Learn", "A course."),
        ("https://nothuggingface.co/a", "Other", "Another site."),
        ("https://pages.mine.org/a", "Mine", "My notes."),
    ]
    for engine, answer in ANSWERS.items():
        with serving(answer(leaks)) as site:
            titles = {
                block: [each.title for each in web(engine, site, **options).search(["q"], 9)[0]]
                for block, options in {
                    "default": {},
                    "none": {"block": "none"},
                    "own": {"block": "benchmarks+mine.org"},
                }.items()
            }
        assert titles == {
            "default": ["Learn", "Other", "Mine"],
            "none": ["hotpot_qa", "x", "Learn", "Other", "Mine"],
            "own": ["Learn", "Other"],
        }


def test_blocked_results_do_not_take_the_place_of_others() -> None:
    found = [(f"https://huggingface.co/{i}", "Leak", "A.") for i in range(5)] + PAGES
    with serving(serper(found)) as site:
        (passages,) = web("serper", site).search(["q"], 3)
    assert [each.id for each in passages] == URLS


def test_odd_results_are_left_out() -> None:
    results = [
        {"url": "https://a.org/x#one", "title": "A", "content": "First."},
        {"url": "HTTPS://A.org/x#two", "title": "A again", "content": "The same page."},
        {"url": "https://b.org", "content": "No title.\n\nTwo\u202e lines\x1b[31m.", "score": float("inf")},
        {"title": "No URL", "content": "Text."},
        {"url": "https://c.org/", "title": "No text"},
        {"url": "https://c.org/", "title": "Blank", "content": " \u200e\n"[:1]},
        {"url": 7, "title": "Number", "content": "Text."},
        {"url": "ftp://d.org/", "title": "FTP", "content": "Text."},
        {"url": "https://me:secret@d.org/", "title": "User", "content": "Text."},
        {"url": "https://e.org/a b", "title": "Blank in it", "content": "Text."},
        {"url": "https://[e.org/", "title": "Bracket", "content": "Text."},
        "no object",
        None,
        {"url": "https://f.org/?q=1", "title": ["list"], "content": "Last.", "score": 10**400},
    ]
    found = passages(ENGINES["searxng"], json.loads(json.dumps({"query": "q", "results": results})))
    assert found == [
        Passage("https://a.org/x", "A", "First."),
        Passage("https://b.org/", "https://b.org/", "No title. Two lines[31m."),
        Passage("https://f.org/?q=1", "https://f.org/?q=1", "Last."),
    ]
    assert [each.score for each in found] == [1.0, 1 / 3, 1 / 14]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
RESULT = st.dictionaries(st.sampled_from(["url", "link", "title", "content", "snippet", "score"]), JSON)


@given(st.sampled_from(list(ENGINES)), JSON | st.lists(JSON | RESULT))
def test_whatever_an_engine_sends_is_read_or_refused(engine: str, results: Any) -> None:
    found = ENGINES[engine]
    for answer in (results, {found.results: results}, {found.mark: "q", "unresponsive_engines": results}):
        try:
            listed = passages(found, answer)
        except ValueError:
            continue
        assert all(each.id and each.title and each.text for each in listed)
        assert len({each.id for each in listed}) == len(listed)


@pytest.mark.parametrize("engine", ANSWERS)
def test_nothing_found_is_an_empty_list(engine: str) -> None:
    missing = {"serper": {"searchParameters": {"q": "q"}, "credits": 1}, "tavily": {"query": "q"}}.get(
        engine, {"query": "q"}
    )
    for answer in (
        (ANSWERS[engine]([]), lambda _: Reply(missing))
        if engine != "searxng"
        else (lambda _: Reply(missing),)
    ):
        with serving(answer) as site:
            assert web(engine, site).search(["q"], 3) == [[]]


@pytest.mark.parametrize("engine", ANSWERS)
def test_a_busy_server_is_asked_again(engine: str) -> None:
    busy = Reply({"message": "Too many requests"}, 429, {"Retry-After": "0"})
    with serving(in_turn(busy, Reply("<h1>Bad gateway</h1>", 502), ANSWERS[engine]())) as site:
        (found,) = web(engine, site, retries=2).search(["q"], 3)
    assert [each.id for each in found] == URLS
    assert len(site.asked) == 3


@pytest.mark.parametrize("engine", ANSWERS)
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply({"message": "Rate limit"}, 429), "answered 429"),
        (Reply("broken", 500), "answered 500"),
        (Reply({"detail": "bad"}, 422), "answered 422"),
        (Reply("Nothing can answer: the secret of the port", 500), "its words repeat what it was asked"),
        (Reply("<html>A page of a proxy</html>"), "not JSON"),
        (Reply([1, 2]), "no list of search results"),
        (Reply({"detail": "hello"}), "no list of search results"),
        (Reply({"organic": "x", "results": {"a": 1}}), "no list of search results"),
        (Reply(status=302, headers={"Location": "https://elsewhere.example/"}), "answered 302"),
    ],
)
def test_other_failures_are_told_to_the_agent(engine: str, reply: Reply, words: str) -> None:
    with serving(lambda _: reply) as site, pytest.raises(SearchError, match=words) as caught:
        web(engine, site).search(["the secret of the port"], 3)
    assert "secret of the port" not in str(caught.value)


def test_a_key_does_not_follow_a_redirect() -> None:
    with serving(serper()) as other:
        away = Reply(status=307, headers={"Location": f"{other.url}/search"})
        with serving(lambda _: away) as site, pytest.raises(SearchError):
            web("serper", site).search(["q"], 3)
    assert other.asked == []


def test_no_server_is_a_search_error() -> None:
    with serving(serper()) as site:
        retriever = web("serper", site)
    with pytest.raises(SearchError, match="no answer from http://127"):
        retriever.search(["q"], 3)


@pytest.mark.parametrize("engine", ["serper", "tavily"])
def test_a_refused_key_ends_the_run(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"{engine.upper()}_API_KEY"
    monkeypatch.setenv(variable, "a-wrong-key")
    with serving(ANSWERS[engine]()) as site, pytest.raises(AccessError, match=variable) as caught:
        web(engine, site, concurrency=1).search([str(i) for i in range(400)], 3)
    assert "nauthorized" in str(caught.value)  # the server's words
    assert len(site.asked) < 400
    assert "a-wrong-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "status", "words"),
    [
        ("serper", 400, {"message": "Not enough credits", "statusCode": 400}),
        ("serper", 402, {"message": "Payment required"}),
        ("tavily", 432, {"detail": {"error": "This request exceeds your plan's set usage limit."}}),
        ("tavily", 433, {"detail": {"error": "This request exceeds your pay-as-you-go limit."}}),
    ],
)
def test_a_quota_that_is_used_up_ends_the_run(engine: str, status: int, words: Any) -> None:
    with serving(lambda _: Reply(words, status)) as site, pytest.raises(AccessError) as caught:
        web(engine, site).search(["q"], 3)
    said = next(iter(words.values()))
    assert (said if isinstance(said, str) else said["error"]) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_searxng_without_json_says_where_to_allow_it() -> None:
    with serving(searxng(formats=("html",))) as site, pytest.raises(AccessError, match=r"settings\.yml"):
        web("searxng", site).search(["q"], 3)


def test_searxng_whose_engines_do_not_answer_has_failed() -> None:
    with serving(searxng([])) as site, pytest.raises(SearchError, match="google: Suspended: CAPTCHA"):
        web("searxng", site).search(["q"], 3)


def test_what_was_answered_is_not_asked_for_again() -> None:
    answer = serper()
    broken = {"now": True}

    def unless_broken(asked: Asked) -> Reply:
        bad = broken["now"] and asked.body["q"] == "bad"
        return Reply({"message": "Bad request"}, 400) if bad else answer(asked)

    with serving(unless_broken) as site:
        retriever = web("serper", site)
        queries = ["a", "b", "bad", "c"]
        for _ in range(3):
            with pytest.raises(SearchError):
                retriever.search(queries, 3)
        broken["now"] = False
        found = retriever.search(queries, 3)
        assert [[each.id for each in listed] for listed in found] == [URLS] * 4
        asked = [each.body["q"] for each in site.asked]
        assert len(asked) <= 4 + 3 + 3  # each that was answered is kept until it has been returned
        retriever.search(["a"], 3)
        assert len(site.asked) == len(asked) + 1


def test_a_server_that_is_down_is_not_asked_for_all_queries() -> None:
    with serving(lambda _: Reply("broken", 500)) as site, pytest.raises(SearchError, match="answered 500"):
        web("serper", site, concurrency=2, retries=0).search([str(i) for i in range(400)], 3)
    assert 2 <= len(site.asked) < 400


@pytest.mark.parametrize("engine", ANSWERS)
def test_any_string_is_a_query(engine: str) -> None:
    queries = ["\ud800 port", "a\x00b", "&q=x#y%zz+", "港" * 3000, "\u2028"]
    with serving(ANSWERS[engine]()) as site:
        found = web(engine, site).search(queries, 3)
    assert [len(each) for each in found] == [3, 3, 3, 3, 0]


def test_equal_queries_are_sent_once_and_a_huge_answer_gives_k_passages() -> None:
    many = [(f"https://a.org/{i}", f"Title {i}", "word " * 100) for i in range(10_000)]
    with serving(searxng(many)) as site:
        first, second = web("searxng", site).search(["port", " port  "], 5)
    assert [each.id for each in first] == [f"https://a.org/{i}" for i in range(5)]
    assert first == second
    assert first is not second
    assert len(site.asked) == 1


def test_queries_of_a_batch_are_sent_side_by_side_and_not_more_than_allowed() -> None:
    barrier, answer = threading.Barrier(3, timeout=20), serper()

    def together(asked: Asked) -> Reply:
        barrier.wait()
        return answer(asked)

    with serving(together) as site:
        found = web("serper", site, concurrency=3).search([str(i) for i in range(9)], 1)
    assert len(found) == 9
    assert site.most_at_once == 3


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_rate_spaces_requests_evenly() -> None:
    clock = Clock()
    pace = Pace(4, clock, clock.sleep)
    for _ in range(3):
        pace.wait()
    assert clock.slept == [0.25, 0.25]
    clock.now += 10
    pace.wait()
    pace.wait()
    assert clock.slept == [0.25, 0.25, 0.25]


def test_a_rate_holds_over_threads() -> None:
    slept: list[float] = []
    pace = Pace(10, lambda: 5.0, slept.append)
    threads = [threading.Thread(target=pace.wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slept) == pytest.approx([i / 10 for i in range(1, 20)])


def test_no_rate_is_no_wait() -> None:
    waits: Iterator[int] = count()
    Pace(None, sleep=lambda _: next(waits)).wait()
    assert next(waits) == 0


def test_identity_tells_what_results_depend_on() -> None:
    same = [
        WebSearch("serper"),
        WebSearch("serper", rate=3, timeout=5, retries=9, concurrency=2, private=True, ports="8080"),
    ]
    other = [
        WebSearch("tavily"),
        WebSearch("serper", block="none"),
        WebSearch("serper", "http://proxy:8080"),
        WebSearch("serper", after="2018-01-01"),
        WebSearch("serper", before="2018-01-01"),
        WebSearch("serper", country="pl"),
        WebSearch("serper", language="pl"),
    ]
    assert same[0].identity == same[1].identity
    assert len({each.identity for each in (same[0], *other)}) == 8
    assert (
        WebSearch("serper", block="b.org+a.org").identity
        == WebSearch("serper", block="A.org + b.org/").identity
    )


QUESTIONS = QuestionSet("none", (), ())


def test_specs_name_the_engines() -> None:
    found = resolve_search("searxng:http://host:8080#language=pl,rate=2.5,robots=false,block=none", QUESTIONS)
    assert repr(found) == "WebSearch('searxng#url=http://host:8080,language=pl,block=none')"
    found = resolve_search("serper#after=2018-01-01,concurrency=4,block=a.org+b.org", QUESTIONS)
    assert repr(found) == "WebSearch('serper#after=2018-01-01,block=a.org%2Bb.org')"
    found = resolve_search("tavily#url=http://proxy:1,block=none", QUESTIONS)
    assert repr(found) == "WebSearch('tavily#url=http://proxy:1,block=none')"


@pytest.mark.parametrize("engine", ["serper", "tavily"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_told_at_once(
    engine: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{engine.upper()}_API_KEY"
    monkeypatch.delenv(variable)
    if value is not None:
        monkeypatch.setenv(variable, value)
    with pytest.raises(AccessError) as caught:
        resolve_search(engine, QUESTIONS)
    assert str(caught.value) == f"{engine} needs a key: set the environment variable {variable}"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("searxng", "needs the URL of its server"),
        ("searxng:host", "the URL of a server has the form"),
        ("searxng:http://host#after=2018-01-01", "searxng cannot do after=; .*serper, tavily"),
        ("searxng:http://host#country=pl", "searxng cannot do country="),
        ("tavily#language=pl", "tavily cannot do language="),
        ("serper#after=2018", "after=2018 is no date; write it as 2018-01-31"),
        ("serper#after=2019-01-01,before=2018-01-01", "later than"),
        ("serper#block=exa mple", "is no domain"),
        ("serper#block=", "is no domain"),
        ("serper#block=benchmark", "is no domain"),
        ("serper#ports=http", "are no ports"),
        ("serper#rate=0", "above 0"),
        ("serper#timeout=-1", "above 0"),
        ("serper#concurrency=0", "at least 1"),
        ("serper#rat=3", "did you mean rate"),
        ("serper#url=http://me:hunter2@host", "SERPER_API_KEY"),
        ("serpr", "did you mean serper"),
    ],
)
def test_wrong_settings_are_refused_by_name(spec: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        resolve_search(spec, QUESTIONS)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/data",
        "https://a.b.example.org./data/x",
        "https://ｅxample.org/data",
        "https://EXAMPLE.org//data",
        "https://example.org/%64ata/x",
        "https://example.org/x/../data/",
        "https://me@example.org:8080/data?q",
        "https://bücher.example/a",
        "https://xn--bcher-kva.example/a",
    ],
)
def test_a_blocked_page_is_blocked_however_it_is_written(url: str) -> None:
    assert url in Blocklist.parse("example.org/data+bücher.example")


@pytest.mark.parametrize(
    "url", ["https://example.org/database", "https://example.org", "https://x-example.org/data", "x"]
)
def test_others_are_not(url: str) -> None:
    assert url not in Blocklist.parse("example.org/data+bücher.example")


@given(st.text(), st.text())
def test_any_text_is_blocked_or_not(text: str, url: str) -> None:
    assert (f"https://a.example.org/{text.replace('/', '')}" in Blocklist.parse("example.org")) is True
    assert (url in Blocklist.parse("example.org")) in (True, False)


def test_a_copy_is_the_same() -> None:
    """Gymnasium copies the arguments of an environment."""
    retriever = WebSearch("searxng", "http://host:8080")
    assert copy.deepcopy(retriever) is retriever


def test_what_is_pickled_is_made_again_without_a_password() -> None:
    retriever = WebSearch("searxng", "http://me:secret@host:8080", language="de", block="none", rate=2)
    pickled = pickle.dumps(retriever)
    assert b"secret" not in pickled
    assert repr(pickle.loads(pickled)) == repr(retriever)
