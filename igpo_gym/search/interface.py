"""The contract of a search backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Protocol

from igpo_gym.episode import Passage


class Retriever(Protocol):
    """Finds passages. Called once a step with the queries of all episodes, so that backends can batch.

    >>> class Nothing:
    ...     def search(self, queries, k):
    ...         return [[] for _ in queries]
    >>> from igpo_gym.search import resolve_search
    >>> resolve_search(Nothing(), questions=None).search(["Danzig", "Vistula"], k=3)
    [[], []]
    """

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages, best first; an empty list where nothing matches.

        Any string is a legal query. Raises SearchError when the backend cannot serve, and AccessError when
        it never will, because a key is missing or wrong.
        """
        ...


class Reporting(Protocol):
    """A retriever that tells about itself: how its server speaks, how often its cache helped."""

    def facts(self) -> dict[str, str | int]:
        """What stands in ``info["search"]`` as of now; nothing secret, and nothing that depends on time."""
        ...


class Identified(Protocol):
    """A retriever that says which backend it is, for what is kept of its answers (``search_cache=``).

    Two retrievers of one identity find the same. So it names the corpus, the model and every setting that
    changes what is found, and it changes when the corpus does (:func:`igpo_gym.specs.fingerprint` of its
    files). It holds neither credentials nor what only says how the backend is asked: timeouts, numbers of
    connections, replicas.

    An object that is given as ``search=`` needs it to be cached. For what a spec makes it comes before what
    the spec's text says (:func:`igpo_gym.search.identity.spec_identities`), which is enough for most. A
    replay constructs nothing: it answers with what was recorded for the same spec.

    >>> class Wiki:
    ...     def __init__(self, year: int, timeout: float = 10.0) -> None:
    ...         self.identity = f"wiki {year}"
    ...     def search(self, queries, k):
    ...         return [[] for _ in queries]
    >>> Wiki(2018).identity
    'wiki 2018'
    """

    @property
    def identity(self) -> str:
        """A text; empty, or absent, where it cannot be told. What stands in it can be read in the cache."""
        ...


class DocumentSource(Protocol):
    """Gives whole documents: what a retriever must have for the tool ``open``.

    >>> from igpo_gym.search import BM25Index
    >>> index = BM25Index.build([Passage("1", "Danzig", "A port.")])
    >>> [[passage.text for passage in document] for document in index.documents(["1", "2"])]
    [['A port.'], []]
    """

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        """For each passage id the passages that make up its document, in order; empty where unknown.

        Raises SearchError when the backend cannot serve.
        """
        ...


def facts_of(thing: Any) -> dict[str, str | int]:
    """What a retriever, or whatever else has ``facts()``, tells about itself; empty where it tells nothing.

    >>> class Wiki:
    ...     def facts(self):
    ...         return {"backend": "wiki"}
    >>> facts_of(Wiki()), facts_of(None)
    ({'backend': 'wiki'}, {})
    """
    tell = getattr(thing, "facts", None)
    return dict(tell()) if callable(tell) else {}


def documents_of(retriever: Any) -> Callable[[Sequence[str]], list[tuple[Passage, ...]]] | None:
    """The ``documents`` of a retriever that is a :class:`DocumentSource`; None of another."""
    documents = getattr(retriever, "documents", None)
    return documents if callable(documents) else None


def check_found(name: str, results: Any, count: int) -> None:
    """Raise TypeError, naming the retriever, for results that are no list of passages for each query.

    >>> check_found("Mine", [[]], 2)
    Traceback (most recent call last):
    TypeError: the retriever Mine must return a list of passages for each of 2 queries, and returned 1 results
    """
    if not isinstance(results, (list, tuple)) or len(results) != count:
        what = f"{len(results)} results" if isinstance(results, (list, tuple)) else _shown(results)
        raise TypeError(
            f"the retriever {name} must return a list of passages for each of {count} queries, "
            f"and returned {what}"
        )
    for passages in results:
        if not isinstance(passages, (list, tuple)) or not _PASSAGES.issuperset(map(type, passages)):
            raise TypeError(
                f"the retriever {name} must return a list of Passage objects for a query, and "
                f"returned {_shown(passages)}"
            )


def check_texts(passage: Passage) -> None:
    """Raise TypeError for a passage whose id, title or text is no text.

    >>> check_texts(Passage(7, "Danzig", "A port."))
    Traceback (most recent call last):
    TypeError: the id, title and text of a passage must be texts: Passage(id=7, title='Danzig', ...)
    """
    if not (isinstance(passage.id, str) and isinstance(passage.title, str) and isinstance(passage.text, str)):
        raise TypeError(f"the id, title and text of a passage must be texts: {passage!r:.90}")


def check_ranked(name: str, results: Any, count: int) -> None:
    """As :func:`check_found`, for what a search found: no passage stands twice in a list."""
    check_found(name, results, count)
    for passages in results:
        try:
            ids = set(map(_id, passages))
        except TypeError:  # a list, which cannot be in a set
            raise TypeError(f"the retriever {name} returned a passage whose id is no text") from None
        if len(ids) < len(passages):
            raise TypeError(f"the retriever {name} returned two passages of one id for a query")


_PASSAGES = frozenset((Passage,))
_id = attrgetter("id")


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.80}"


class Corpus(Protocol):
    """Passages by number, from 0: a tuple of them, or an index."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Passage: ...
