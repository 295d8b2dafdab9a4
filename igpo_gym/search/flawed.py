"""A search that lacks something on purpose, around any retriever.

>>> from igpo_gym.search import BM25Index
>>> index = BM25Index.build([Passage("1", "Danzig", "It is a port. It lies in Pomerania.")])
>>> search = Flawed(index, Flaws(shown=1))
>>> search.search(["Pomerania"], k=1)[0][0].text, search.documents(["1"])[0][0].text
('It is a port.', 'It is a port. It lies in Pomerania.')
>>> Flawed(index, Flaws(miss=1.0)).search(["Pomerania"], k=1)
[[]]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import igpo_gym.specs as specs
from igpo_gym.data.flaws import Flaws
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import SpecError
from igpo_gym.search.identity import identity_of
from igpo_gym.search.interface import Corpus, DocumentSource, Retriever, check_ranked, facts_of
from igpo_gym.text import first_sentences, without_credentials


def flawed(
    place: str, /, *, questions: QuestionSet, shown: int | None = None, miss: float = 0.0, seed: int = 0
) -> Flawed:
    """What the spec ``flawed`` calls: the retriever that stands behind the colon, with flaws."""
    parts = specs.parts(place)
    if len(parts) != 1:
        raise SpecError(f"flawed takes one search: flawed:bm25:INDEX, not {without_credentials(place)!r}")
    return Flawed(specs.resolve("search", parts[0], questions=questions), Flaws(shown, miss, seed))


@dataclass(frozen=True)
class Flawed:
    """A retriever that shows the beginnings of what ``retriever`` finds, or misses it.

    It searches whole documents, and gives whole documents to the tool ``open``. A query that misses brings
    what the retriever ranks behind the passages that were wanted: places k + 1 to 2k, which may be none.
    """

    retriever: Retriever
    flaws: Flaws

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages, best first."""
        missed = [query for query in queries if self.flaws.misses(query)]
        hit = [query for query in queries if not self.flaws.misses(query)]
        found = dict(zip(hit, self._searched(hit, k), strict=True))
        deep = zip(missed, self._searched(missed, 2 * k), strict=True)
        found |= {query: passages[k : 2 * k] for query, passages in deep}
        return [[self.beginning(passage) for passage in found[query]] for query in queries]

    def _searched(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        found = self.retriever.search(queries, k) if queries else []
        check_ranked(type(self.retriever).__name__, found, len(queries))
        return found

    def beginning(self, passage: Passage) -> Passage:
        """What a search shows of a passage."""
        if self.flaws.shown is None:
            return passage
        return replace(passage, text=first_sentences(passage.text, self.flaws.shown))

    @property
    def documents(self) -> Callable[[Sequence[str]], list[tuple[Passage, ...]]]:
        """Gives whole documents. AttributeError where the retriever does not."""
        return cast(DocumentSource, self.retriever).documents

    @property
    def identity(self) -> str:
        """What the results depend on; empty where the retriever does not tell its own."""
        own = identity_of(self.retriever)
        return f"flawed {self.flaws.changed} [{own}]" if own else ""

    def facts(self) -> dict[str, str | int]:
        """What ``info["search"]`` shows: the retriever's own facts, and the flaws."""
        told = facts_of(self.retriever) or {"backend": type(self.retriever).__name__}
        return {**told, "flaws": ",".join(f"{name}={value}" for name, value in self.flaws.changed.items())}


@dataclass(frozen=True)
class Beginnings:
    """The passages of a corpus as a flawed search shows them; its documents are whole."""

    corpus: Corpus
    search: Flawed

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, number: int) -> Passage:
        return self.search.beginning(self.corpus[number])

    @property
    def documents(self) -> Callable[[Sequence[str]], list[tuple[Passage, ...]]]:
        """Gives whole documents. AttributeError where the retriever does not."""
        return self.search.documents
