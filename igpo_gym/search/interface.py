"""The contract of a search backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from igpo_gym.episode import Passage


class Retriever(Protocol):
    """Finds passages. Called once a step with the queries of all episodes, so that backends can batch."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages, best first; an empty list where nothing matches.

        Any string is a legal query. Raises SearchError when the backend cannot serve.
        """
        ...


class DocumentSource(Protocol):
    """Gives whole documents: what a retriever must have for the tool ``open``."""

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        """For each passage id the passages that make up its document, in order; empty where unknown.

        Raises SearchError when the backend cannot serve.
        """
        ...


class Corpus(Protocol):
    """Passages by number, from 0: a tuple of them, or an index."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Passage: ...
