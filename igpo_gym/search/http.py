"""Search by a server: anything that speaks the Search-R1 protocol in one of its dialects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from urllib.parse import urlsplit

from igpo_gym.episode import Passage
from igpo_gym.errors import SpecError
from igpo_gym.search.dialects import DIALECTS, MOST_RESULTS, read_documents
from igpo_gym.search.handshake import handshake
from igpo_gym.search.replicas import Replicas
from igpo_gym.specs import Spec
from igpo_gym.text import well_formed, without_credentials
from igpo_gym.transport import Server, parallel

PATH = "/retrieve"
"""Where a server is asked whose URL has no path."""

BACKOFF = 0.5
"""For :class:`igpo_gym.transport.Server`, in seconds."""

DOCUMENTS_AT_A_TIME = 8


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How servers are asked; for the meaning see :func:`search_server`."""

    urls: tuple[str, ...] = field(repr=False)
    """With their users and passwords."""
    timeout: float
    retries: int
    batch: int
    concurrency: int
    id: str
    dialect: str = ""
    """The name of the dialect that they speak; empty before it was found out."""


def search_server(
    url: str,
    *,
    timeout: float = 60.0,
    retries: int = 2,
    batch: int = 64,
    concurrency: int = 16,
    id: str = "",
) -> HTTPSearch:
    """What the specs ``http://...`` and ``https://...`` call: a retriever behind a URL, which is tried out.

    ``url`` is that of the retrieval route (``/retrieve`` where it has no path), or several joined by commas,
    which are replicas. A key that the server wants is taken from ``IGPO_GYM_API_KEY``, or from the URL
    (``http://user:password@host``). ``timeout`` is how many seconds an answer may take, ``retries`` how often
    a request is repeated at one server, ``batch`` how many queries a request holds at most, ``concurrency``
    how many requests are under way at a time, and ``id`` the field of a document that is its id.

    Raises SpecError where no server answers, where it has no such route, and where it speaks another
    protocol; AccessError where it refuses the key.
    """
    if batch < 1:
        raise SpecError(f"batch={batch} for {without_credentials(url)} must be at least 1")
    options = ServerOptions(Spec(url).places, timeout, retries, batch, concurrency, id)
    replicas, path = connected(options)
    try:
        known = handshake(replicas.servers, path, beside(path, "access"), id)
    finally:
        replicas.close()
    kind = HTTPSearchWithAccess if known.documents else HTTPSearch
    return kind(replace(options, dialect=known.dialect))


def connected(options: ServerOptions) -> tuple[Replicas, str]:
    """The servers of these options, and the path of their retrieval route. Nothing is sent.

    Raises SpecError for URLs that are none, or that differ in their paths.
    """
    routes = [_route(url) for url in options.urls]
    paths = dict.fromkeys(path for _, path in routes)
    if len(paths) > 1:
        raise SpecError(f"replicas have one path at all their URLs, not {' and '.join(paths)}")
    # Another replica answers sooner than one that has just failed. The one retry is for a connection that
    # the server closed while it was idle.
    retries = options.retries if len(routes) == 1 else min(options.retries, 1)
    servers = [
        Server(
            root,
            timeout=options.timeout,
            retries=retries,
            backoff=BACKOFF,
            concurrency=options.concurrency,
        )
        for root, _ in routes
    ]
    return Replicas(servers), next(iter(paths))


class HTTPSearch:
    """A retriever behind one or more URLs. Safe to use from many threads.

    Copies are the retriever itself. Where it is unpickled it is made again, without the user and password of
    its URLs, for which ``IGPO_GYM_API_KEY`` stands in.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self._replicas, self._path = connected(options)

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages, best first.

        Raises SearchError where no server gives a right answer, and AccessError where one refuses the key.
        """
        if isinstance(queries, str):
            raise TypeError(f"search takes a list of queries, not the text {queries!r:.60}")
        if k < 1:
            raise ValueError(f"k must be at least 1, found {k}")
        dialect = DIALECTS[self.options.dialect]

        def found(part: Sequence[str]) -> list[list[Passage]]:
            return self._replicas.post(
                self._path,
                dialect.ask(part, k),
                passages_bytes(len(part), k),
                lambda answer: dialect.read(answer, part, k, self.options.id),
                hidden=part,  # a log must not hold the questions of a protected set
            )

        asked = [well_formed(query) for query in queries]
        different = list(dict.fromkeys(asked))
        many = min(self.options.batch, max(MOST_RESULTS // k, 1)) if dialect.many else 1
        parts = _parts(different, many)
        results = chain.from_iterable(parallel(found, parts, self.options.concurrency))
        passages = dict(zip(different, results, strict=True))
        return [list(passages[query]) for query in asked]

    def facts(self) -> dict[str, str | int]:
        """What ``info["search"]`` tells of it."""
        options = self.options
        return {"backend": "http", "dialect": options.dialect, "replicas": len(options.urls)}

    def close(self) -> None:
        """Close the connections."""
        self._replicas.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(without_credentials, self.options.urls))})"

    def __deepcopy__(self, memo: object) -> HTTPSearch:
        return self  # Gymnasium copies an environment's arguments, and connections are there to be shared

    def __getstate__(self) -> ServerOptions:
        return replace(self.options, urls=tuple(map(without_credentials, self.options.urls)))

    def __setstate__(self, options: ServerOptions) -> None:
        HTTPSearch.__init__(self, options)


class HTTPSearchWithAccess(HTTPSearch):
    """A retriever whose servers also give whole documents, at the route ``/access``."""

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        """For each passage id the passages of its document; none where it is not known.

        Raises SearchError where no server gives a right answer, and AccessError where one refuses the key.
        """

        def found(part: Sequence[str]) -> list[tuple[Passage, ...]]:
            return self._replicas.post(
                beside(self._path, "access"),
                {"urls": list(part)},
                (1 + len(part)) * (4 << 20),
                lambda answer: read_documents(answer, part),
            )

        parts = _parts(list(ids), DOCUMENTS_AT_A_TIME)
        return list(chain.from_iterable(parallel(found, parts, self.options.concurrency)))


def passages_bytes(queries: int, k: int) -> int:
    """How long an answer may be: 64 KB a passage, of which a server that ignores ``topk`` may give ten.

    >>> passages_bytes(queries=1, k=3) >> 10
    4736
    """
    return (4 << 20) + queries * max(k, 10) * (64 << 10)


def beside(path: str, name: str) -> str:
    """The path of another route of the same server.

    >>> beside("/wiki/retrieve", "access")
    '/wiki/access'
    """
    return f"{path.rpartition('/')[0]}/{name}"


def _parts(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _route(url: str) -> tuple[str, str]:
    """The root of a server, with user and password, and the path of its retrieval route."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # a bracket that is not closed, or a port that is none
        parts = urlsplit("")
    if not parts.netloc or parts.query or parts.fragment:
        raise SpecError("the URL of a search server has the form http://host:8000/retrieve")
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/") or PATH
