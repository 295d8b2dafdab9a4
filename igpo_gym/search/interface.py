"""The contract of a search backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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


class Corpus(Protocol):
    """Passages by number, from 0: a tuple of them, or an index."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Passage: ...
