"""The web search engines that are known: how each is asked, and what its answer holds.

None of the paid ones was asked: see "Not verified" in docs/search.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from igpo_gym.episode import Passage
from igpo_gym.search.web.blocking import Blocklist
from igpo_gym.search.web.reading import clean
from igpo_gym.transport import SHOWN_CHARACTERS, Key

LARGEST_SCORE = 1e9
"""A score beyond is no score; NaN is none either."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a search is limited to."""

    blocked: Blocklist = Blocklist()  # noqa: RUF009 (it is frozen)
    after: date | None = None
    """The first day of what was published."""
    before: date | None = None
    """The last day of it."""
    country: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A search as HTTP: the JSON ``body`` is posted, and without one it is a GET."""

    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class WebEngine:
    """A web search engine."""

    url: str
    """The root of its server; empty where each user has one."""
    key: Key | None
    """Its key; None where it takes none."""
    request: Callable[[str, int, Scope], Request]
    """From a query, how many results and the scope to what is sent."""
    longest: int
    """Characters of a query; longer ones are cut."""
    most: int
    """Results of a query."""
    takes: frozenset[str]
    """The options of a scope that it can do natively."""
    results: str
    """The key of its answers under which the results are."""
    mark: str
    """A key that each of its answers has, whether or not there are results."""
    fields: tuple[str, str, str]
    """The keys of a result for URL, title and text."""
    exhausted: Mapping[int, str]
    """The statuses that say that the quota is used up, each with words that its answer must hold for it."""
    forbidden: str = ""
    """What a 403 means, where it is not the key."""


def _serper(query: str, count: int, scope: Scope) -> Request:
    body: dict[str, Any] = {"q": query, "num": count}
    if scope.country:
        body["gl"] = scope.country
    if scope.language:
        body["hl"] = scope.language
    if scope.after or scope.before:
        bounds = (("cd_min", scope.after), ("cd_max", scope.before))
        days = [f"{name}:{day.month}/{day.day}/{day.year}" for name, day in bounds if day]
        body["tbs"] = ",".join(["cdr:1", *days])
    return Request("/search", body)


def _tavily(query: str, count: int, scope: Scope) -> Request:
    body: dict[str, Any] = {"query": query, "max_results": count}
    if scope.blocked.domains:
        body["exclude_domains"] = list(scope.blocked.domains)
    if scope.after:
        body["start_date"] = scope.after.isoformat()
    if scope.before:
        body["end_date"] = scope.before.isoformat()
    if scope.country:
        body["country"] = scope.country
    return Request("/search", body)


def _searxng(query: str, count: int, scope: Scope) -> Request:
    asked = {"q": query, "format": "json"}
    if scope.language:
        asked["language"] = scope.language
    return Request(f"/search?{urlencode(asked)}")


ENGINES: Mapping[str, WebEngine] = MappingProxyType(
    {
        "serper": WebEngine(
            url="https://google.serper.dev",
            key=Key("SERPER_API_KEY", "X-API-KEY", ""),
            request=_serper,
            longest=2048,
            most=100,
            takes=frozenset({"after", "before", "country", "language"}),
            results="organic",
            mark="searchParameters",
            fields=("link", "title", "snippet"),
            exhausted={400: "not enough credits", 402: ""},
        ),
        "tavily": WebEngine(
            url="https://api.tavily.com",
            key=Key("TAVILY_API_KEY"),
            request=_tavily,
            longest=400,
            most=20,
            takes=frozenset({"after", "before", "country"}),
            results="results",
            mark="query",
            fields=("url", "title", "content"),
            exhausted={402: "", 432: "", 433: ""},
        ),
        "searxng": WebEngine(
            url="",
            key=None,
            request=_searxng,
            longest=2048,
            most=100,
            takes=frozenset({"language"}),
            results="results",
            mark="query",
            fields=("url", "title", "content"),
            exhausted={402: ""},
            forbidden="its settings.yml must list json under search: formats:",
        ),
    }
)
"""The engines by the name of their spec."""


def passages(engine: WebEngine, answer: Any) -> list[Passage]:
    """The passages of an engine's answer, best first; URLs that come again are left out.

    A result without a URL of the web or without a text is left out. The score is the engine's, else 1/rank.
    Raises ValueError for what is no answer of this engine, and for an answer without results whose own
    sources failed.

    >>> found = {"query": "port", "results": [{"url": "http://a/#x", "title": "A", "content": "A port."}]}
    >>> passages(ENGINES["searxng"], found)
    [Passage(id='http://a/', title='A', text='A port.', score=1.0)]
    """
    if not isinstance(answer, Mapping) or not (engine.results in answer or engine.mark in answer):
        raise ValueError("answered with what is no list of search results")
    listed = answer.get(engine.results)
    if listed is not None and not isinstance(listed, list):
        raise ValueError("answered with what is no list of search results")
    found: dict[str, Passage] = {}
    for rank, result in enumerate(listed or (), 1):
        if not isinstance(result, Mapping):
            continue
        link, title, text = (_text(result.get(name)) for name in engine.fields)
        url = normalized(link)
        if url and text and url not in found:
            found[url] = Passage(url, title or url, text, _score(result.get("score"), rank))
    if not listed and (silent := _silent(answer)):
        raise ValueError(f"found nothing, for none of its engines answered: {silent}")
    return list(found.values())


def normalized(url: str) -> str:
    """A URL as the id of a passage: scheme and host in lower case, no fragment. Empty for none of the web.

    >>> normalized("HTTPS://Example.org/A#top"), normalized("javascript:alert(1)")
    ('https://example.org/A', '')
    """
    try:
        parts = urlsplit(url.strip())
        right = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        return ""
    if not right or not url.isprintable() or " " in url.strip():
        return ""
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path or "/", parts.query, ""))


def _text(value: Any) -> str:
    return clean(value).replace("\n", " ") if isinstance(value, str) else ""


def _score(value: Any, rank: int) -> float:
    right = isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool))
    return float(value) if right and abs(value) < LARGEST_SCORE else 1 / rank


def _silent(answer: Mapping[str, Any]) -> str:
    """The engines of a metasearch that did not answer, with their reasons."""
    listed = answer.get("unresponsive_engines")
    pairs = [each for each in listed if isinstance(each, list | tuple)] if isinstance(listed, list) else []
    return clean(", ".join(": ".join(map(str, pair)) for pair in pairs)).replace("\n", " ")[:SHOWN_CHARACTERS]
