"""Several retrievers as one: their rankings are joined by reciprocal-rank fusion.

>>> from igpo_gym.search import BM25Index
>>> texts = {"a": "a port", "b": "the port"}
>>> parts = [BM25Index.build([Passage(name, "", text)]) for name, text in texts.items()]
>>> [(passage.id, round(passage.score, 4)) for passage in Hybrid(parts).search(["port"], k=2)[0]]
[('a', 0.0164), ('b', 0.0164)]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import igpo_gym.specs as specs
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import SpecError
from igpo_gym.search.identity import identity_of
from igpo_gym.search.interface import Retriever, check_ranked, documents_of, facts_of
from igpo_gym.text import without_credentials

K = 60
"""The constant of the published method (Cormack, Clarke and Buettcher, SIGIR 2009)."""

DEPTH = 100


def hybrid(place: str, /, *, questions: QuestionSet, k: int = K, depth: int = DEPTH) -> Hybrid:
    """What the spec ``hybrid`` calls: the retrievers that stand behind the colon, joined."""
    parts = specs.parts(place)
    if len(parts) < 2:
        shown = without_credentials(place)
        raise SpecError(f"a hybrid search has two parts or more, joined by commas: hybrid:{shown}")
    return Hybrid([specs.resolve("search", part, questions=questions) for part in parts], k, depth)


@dataclass(frozen=True)
class Hybrid:
    """Joins the rankings of retrievers over one corpus: a passage's score is the sum of 1 / (k + its rank).

    Each part is asked for ``depth`` passages, or for as many as are wanted if that is more. Ties go to the
    part that stands first, then to the better rank there. Passages are told apart by their ids.
    """

    parts: Sequence[Retriever]
    k: int = K
    depth: int = DEPTH

    def __post_init__(self) -> None:
        if self.k < 0 or self.depth < 1:
            raise SpecError(f"k must be at least 0 and depth at least 1, found {self.k} and {self.depth}")

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query the ``k`` passages of the greatest sums. A part that fails fails the whole."""
        depth = max(k, self.depth)
        found = [part.search(queries, depth) for part in self.parts]
        for part, rankings in zip(self.parts, found, strict=True):
            check_ranked(type(part).__name__, rankings, len(queries))
        return [self._joined(rankings)[:k] for rankings in zip(*found, strict=True)]

    def _joined(self, rankings: Sequence[Sequence[Passage]]) -> list[Passage]:
        shares: dict[str, list[float]] = {}
        passages: dict[str, Passage] = {}
        for ranking in rankings:
            for rank, passage in enumerate(ranking, start=1):
                shares.setdefault(passage.id, []).append(1 / (self.k + rank))
                passages.setdefault(passage.id, passage)
        # Rounded once: the same ranks in another order make a tie.
        sums = {id_: math.fsum(each) for id_, each in shares.items()}
        best = sorted(sums, key=lambda id_: -sums[id_])  # stable: those found first stay in front
        return [replace(passages[id_], score=sums[id_]) for id_ in best]

    @property
    def documents(self) -> Callable[[Sequence[str]], list[tuple[Passage, ...]]]:
        """For each id the document of the first part that has one. AttributeError where no part gives any."""
        sources = [source for part in self.parts if (source := documents_of(part)) is not None]
        if not sources:
            raise AttributeError("none of the retrievers gives documents")

        def documents(ids: Sequence[str]) -> list[tuple[Passage, ...]]:
            found: dict[str, tuple[Passage, ...]] = {}
            for source in sources:
                missing = [id_ for id_ in dict.fromkeys(ids) if not found.get(id_)]
                if missing:
                    found.update(zip(missing, source(missing), strict=True))
            return [found[id_] for id_ in ids]

        return documents

    @property
    def identity(self) -> str:
        """What the results depend on; empty where a part does not tell its own."""
        own = [identity_of(part) for part in self.parts]
        return f"hybrid k={self.k} depth={self.depth} [{' | '.join(own)}]" if all(own) else ""

    def facts(self) -> dict[str, str | int]:
        """What ``info["search"]`` shows: the parts' own facts behind their numbers."""
        told: dict[str, str | int] = {"backend": "hybrid", "parts": len(self.parts), "k": self.k}
        for number, part in enumerate(self.parts, start=1):
            facts = facts_of(part) or {"backend": type(part).__name__}
            told.update({f"{number}.{name}": value for name, value in facts.items()})
        return told
