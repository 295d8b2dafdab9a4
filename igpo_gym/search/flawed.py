"""A search that lacks something on purpose, around any retriever.

>>> from igpo_gym.search import BM25Index
>>> index = BM25Index.build([Passage("1", "Danzig", "It is a port. It lies in Pomerania.")])
>>> search = Flawed(index, Flaws(shown=1))
>>> search.search(["Pomerania"], k=1)[0][0].text, search.documents(["1"])[0][0].text
('It is a port.', 'It is a port. It lies in Pomerania.')
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from igpo_gym.data.flaws import Flaws
from igpo_gym.episode import Passage
from igpo_gym.search.identity import identity_of
from igpo_gym.search.interface import Corpus, Retriever
from igpo_gym.text import first_sentences


@dataclass(frozen=True)
class Flawed:
    """A retriever that finds what ``retriever`` finds, and shows the beginnings of it.

    It searches whole documents, and gives whole documents to the tool ``open``.
    """

    retriever: Retriever
    flaws: Flaws

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages, best first."""
        return [[self.beginning(passage) for passage in found] for found in self.retriever.search(queries, k)]

    def beginning(self, passage: Passage) -> Passage:
        """What a search shows of a passage."""
        if self.flaws.shown is None:
            return passage
        return replace(passage, text=first_sentences(passage.text, self.flaws.shown))

    @property
    def documents(self) -> Callable[[Sequence[str]], list[tuple[Passage, ...]]]:
        """Gives whole documents. AttributeError where the retriever does not."""
        found: Callable[[Sequence[str]], list[tuple[Passage, ...]]] = self.retriever.documents  # type: ignore[attr-defined]
        return found

    @property
    def identity(self) -> str:
        """What the results depend on; empty where the retriever does not tell its own."""
        own = identity_of(self.retriever)
        return f"{self.flaws} [{own}]" if own else ""

    def facts(self) -> dict[str, str | int]:
        """What ``info["search"]`` shows: the retriever's own facts."""
        report = getattr(self.retriever, "facts", None)
        return report() if callable(report) else {"backend": type(self.retriever).__name__}


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
