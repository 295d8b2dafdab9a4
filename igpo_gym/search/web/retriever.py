"""A web search engine as a retriever, whose pages can be opened."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial

from igpo_gym.episode import Passage
from igpo_gym.errors import AccessError, SearchError, SpecError, choose
from igpo_gym.search.web.addresses import PORTS
from igpo_gym.search.web.blocking import Blocklist, joined
from igpo_gym.search.web.engines import ENGINES, Request, Scope, WebEngine, passages
from igpo_gym.search.web.fetching import PageLimits
from igpo_gym.search.web.pace import Pace
from igpo_gym.search.web.pages import Document, PageReader
from igpo_gym.specs import Spec
from igpo_gym.text import well_formed, without_credentials
from igpo_gym.transport import Server, ServerError, parallel

ASKED_RESULTS = 10
"""Results that are asked for at least, so that blocked ones can be left out; up to 10 cost the same."""

KEPT_ANSWERS = 1024
"""Answers that are kept of batches that failed, so that they are not paid for again."""


class WebSearch:
    """Searches the web with one of ``ENGINES`` (a ``Retriever``), and reads its pages (a ``DocumentSource``).

    As a spec: ``"serper"``, ``"tavily"``, ``"searxng:http://host:8080"``, with options behind ``#``. ``url``
    is the server's root, where it is not the engine's own. Keys are taken from the environment variables
    ``SERPER_API_KEY`` and ``TAVILY_API_KEY``.

    Results: ``block`` are domains that are left out, see :class:`Blocklist`; ``after`` and ``before``
    (2018-01-31) are the first and last day of publication; ``country`` and ``language`` are the engine's own
    codes. Requests: at most ``rate`` a second, ``concurrency`` at a time; for ``timeout`` (seconds),
    ``retries`` and ``backoff`` see :class:`transport.Server`. Pages: ``private`` allows addresses that are
    not public, ``ports`` (8080+8443) others than 80 and 443, ``robots=false`` leaves robots.txt unread.

    A passage is a result: its id is the URL, its text the engine's snippet. A query of blanks finds nothing
    and is not sent. Raises AccessError for a key that is missing or refused, or whose quota is used up, and
    SpecError for an option that is wrong or that the engine cannot do. Safe to use from many threads.

    >>> web = WebSearch("searxng", "http://host:8080", block="example.org", language="de", rate=2)
    >>> web
    WebSearch('searxng#url=http://host:8080,language=de,block=example.org')
    >>> web.facts()
    {'backend': 'searxng', 'requests': 0, 'pages_read': 0, 'pages_unread': 0}
    """

    def __init__(
        self,
        engine: str,
        url: str = "",
        *,
        block: str = "benchmarks",
        after: str = "",
        before: str = "",
        country: str = "",
        language: str = "",
        rate: float | None = None,
        timeout: float = 20.0,
        retries: int = 3,
        backoff: float = 0.5,
        concurrency: int = 8,
        private: bool = False,
        ports: str = "",
        robots: bool = True,
    ) -> None:
        self._settings = {name: value for name, value in locals().items() if name != "self"}
        self._name, self._engine = engine, choose(ENGINES, engine, "web search engine")
        if rate is not None and not rate > 0:
            raise SpecError(f"rate={rate} must be above 0")
        given = {"after": after, "before": before, "country": country, "language": language}
        _refuse(engine, self._engine, [name for name, value in given.items() if value])
        blocked = Blocklist.parse(block)
        self._scope = Scope(blocked, _day("after", after), _day("before", before), country, language)
        if self._scope.after and self._scope.before and self._scope.after > self._scope.before:
            raise SpecError(f"after={after} is later than before={before}")
        limits = PageLimits(seconds=timeout, private=private, ports=PORTS | _ports(ports))
        self._pages = PageReader(limits, blocked, robots=robots, concurrency=concurrency)
        self._server = _server(engine, self._engine, url, timeout, retries, backoff, concurrency)
        self._pace = Pace(rate)
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._requests = 0
        self._saved: OrderedDict[tuple[str, int], list[Passage]] = OrderedDict()

    def __repr__(self) -> str:
        return f"WebSearch({self.identity!r})"

    def __deepcopy__(self, memo: object) -> WebSearch:
        """The same: Gymnasium copies the arguments of an environment, and connections are shared."""
        return self

    def __reduce__(self) -> tuple[Callable[[], WebSearch], tuple[()]]:
        """Where it is unpickled it is made again, with the keys of that place, and no password of its URL."""
        url = without_credentials(self._settings["url"])
        return partial(type(self), **self._settings | {"url": url}), ()

    @property
    def identity(self) -> str:
        """The engine and all that its results depend on, without secrets: the name of what a cache holds."""
        scope = self._scope
        given = {"url": self._server.url if self._server.url != self._engine.url else ""}
        given |= {"after": str(scope.after or ""), "before": str(scope.before or "")}
        given |= {"country": scope.country, "language": scope.language}
        options = {name: value for name, value in given.items() if value}
        return str(Spec(self._name, options | {"block": joined(scope.blocked.entries)}))

    def facts(self) -> dict[str, str | int]:
        """The engine, and how many requests were made and pages read so far."""
        with self._lock:
            requests = self._requests
        return {
            "backend": self._name,
            "requests": requests,
            "pages_read": self._pages.read,
            "pages_unread": self._pages.unread,
        }

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages, best first.

        Raises SearchError where a query cannot be answered; the answers to the others are kept, so that
        asking again does not send them again. Raises AccessError where none ever will be.
        """
        asked = [(self._fitting(query), k) for query in queries]
        with self._lock:
            found = {each: self._saved.pop(each) for each in dict.fromkeys(asked) if each in self._saved}
        left = [each for each in dict.fromkeys(asked) if each not in found]
        answers: dict[tuple[str, int], list[Passage]] = {}
        failures: list[Exception] = []

        def ask(each: tuple[str, int]) -> None:
            # An engine that answers none is not asked for all, and after a refused key nothing is.
            down = not answers and len(failures) >= self._concurrency
            if down or not all(isinstance(failure, SearchError) for failure in failures):
                return
            try:
                answers[each] = self._search(*each)
            except Exception as failure:  # raised below, when the answers to the others are kept
                failures.append(failure)

        parallel(ask, left, self._concurrency)
        found |= answers
        if failures:
            self._save(found)
            raise next((each for each in failures if not isinstance(each, SearchError)), failures[0])
        return [list(found[each]) for each in asked]

    def documents(self, ids: Sequence[str]) -> list[Document]:
        """The page of each URL, as passages; empty for a page that cannot be read."""
        return self._pages.documents(ids)

    def _fitting(self, query: str) -> str:
        """A query as the engine takes it."""
        return " ".join(well_formed(query).split())[: self._engine.longest].rstrip()

    def _search(self, query: str, k: int) -> list[Passage]:
        if not query:
            return []
        engine = self._engine
        request = engine.request(query, min(max(k, ASKED_RESULTS), engine.most), self._scope)
        self._pace.wait()
        with self._lock:
            self._requests += 1
        try:
            answer = self._asked(request)
        except ServerError as problem:
            raise self._failure(problem, query, request) from None
        try:
            listed = passages(engine, answer)
        except ValueError as problem:
            raise SearchError(f"{self._name} {problem}") from None
        return [each for each in listed if each.id not in self._scope.blocked][:k]

    def _asked(self, request: Request) -> object:
        return (
            self._server.get(request.path)
            if request.body is None
            else self._server.post(request.path, request.body)
        )

    def _failure(self, problem: ServerError, query: str, request: Request) -> Exception:
        """What a server's refusal means. The query is taken out of it: a log must not hold it."""
        words = problem.without([query]).replace(request.path, request.path.partition("?")[0])
        status = problem.status
        if status == 403 and self._engine.forbidden:
            return AccessError(f"{words}; {self._engine.forbidden}")
        if status in (401, 403):
            return AccessError(words)
        if status is not None and self._engine.exhausted.get(status, "\0") in problem.words.lower():
            return AccessError(f"the quota of {self._name} is used up: {words}")
        return SearchError(words)

    def _save(self, found: dict[tuple[str, int], list[Passage]]) -> None:
        with self._lock:
            self._saved.update(found)
            while len(self._saved) > KEPT_ANSWERS:
                self._saved.popitem(last=False)


def _server(
    name: str, engine: WebEngine, url: str, timeout: float, retries: int, backoff: float, concurrency: int
) -> Server:
    """The engine's server, with its key. Raises AccessError without one."""
    root = url or engine.url
    if not root:
        raise SpecError(f"{name} needs the URL of its server: {name}:http://host:8080")
    if engine.key is not None and "@" in root:
        raise SpecError(
            f"the url of {name} holds no user and password: its key belongs in {engine.key.variable}"
        )
    server = Server(
        root,
        timeout=timeout,
        retries=retries,
        backoff=backoff,
        concurrency=concurrency,
        key=engine.key,
    )
    if engine.key is not None and not server.has_key:
        raise AccessError(f"{name} needs a key: set the environment variable {engine.key.variable}")
    return server


def _refuse(name: str, engine: WebEngine, given: Sequence[str]) -> None:
    """Raise SpecError for options that the engine cannot do."""
    for option in given:
        if option not in engine.takes:
            able = ", ".join(each for each, other in ENGINES.items() if option in other.takes)
            raise SpecError(
                f"{name} cannot do {option}=; it takes {', '.join(sorted(engine.takes))} ({option}=: {able})"
            )


def _day(name: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise SpecError(f"{name}={text} is no date; write it as 2018-01-31") from None


def _ports(text: str) -> frozenset[int]:
    """From ports joined by ``+``."""
    found = [part.strip() for part in text.split("+") if part.strip()]
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 1 << 16 for part in found):
        raise SpecError(f"ports={text} are no ports; write them as 8080+8443")
    return frozenset(map(int, found))
