"""A cache of what retrievers find, and exact replay from it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import igpo_gym.specs as specs
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, ReplayError, SpecError
from igpo_gym.search.cache_file import NOTHING, AnswerFile, Backend
from igpo_gym.search.identity import identity_of
from igpo_gym.search.interface import (
    Corpus,
    DocumentSource,
    Retriever,
    check_found,
    check_ranked,
    check_texts,
    documents_of,
    facts_of,
)

FORM = '"FOLDER", "replay:FOLDER", either with "#backend=NAME"'


@dataclass(frozen=True, slots=True)
class CacheSetting:
    """What ``search_cache=`` says.

    >>> CacheSetting.parse("replay:searches#backend=wiki-e5")
    CacheSetting(folder='searches', replay=True, backend='wiki-e5')
    """

    folder: str
    replay: bool = False
    backend: str = ""
    """The name under which answers are kept, in the place of the retriever's identity; empty for that."""

    @classmethod
    def parse(cls, text: str | Path) -> Self:
        """From a text. Raises SpecError for what is none."""
        if not isinstance(text, str | os.PathLike):
            raise SpecError(f"search_cache is {FORM}, not {text!r:.60}")
        spec = specs.Spec.parse(os.fspath(text))
        if unknown := spec.options.keys() - {"backend"}:
            raise SpecError(f"search_cache has no option {min(unknown)!r}; it has: backend")
        scheme, _, rest = spec.place.partition(":")
        replay = scheme == "replay" and spec.place != scheme
        folder = rest if replay else spec.place
        if not folder:
            raise SpecError(f"search_cache={text!r} names no folder; write {FORM}")
        return cls(folder, replay, spec.options.get("backend", ""))


class CachedSearch:
    """Gives a retriever's answers from a file, and asks it for those that are not there yet.

    Without a retriever it replays: what is not in the file is a ReplayError. Hits and misses are one type and
    equal to the last bit, for both are read from what the file holds. A failure is not kept. ``facts()`` are
    those of the retriever, ``cache_hits`` and ``cache_misses``: how many different queries (and ids of
    documents) of all calls were answered from the file, and how many by the retriever.

    >>> import tempfile
    >>> from igpo_gym.search import resolve_search
    >>> class Port:
    ...     identity = "port"
    ...     def search(self, queries, k):
    ...         return [[Passage("1", "Danzig", f"{query}: a port.")] for query in queries]
    >>> folder = tempfile.mkdtemp()
    >>> recorded = resolve_search(Port(), None, search_cache=folder)
    >>> [passage.text for passage in recorded.search(["Danzig"], k=3)[0]]
    ['Danzig: a port.']
    >>> replayed = resolve_search(Port(), None, search_cache=f"replay:{folder}")
    >>> replayed.search(["Danzig"], k=3) == recorded.search(["Danzig"], k=3), replayed.facts()
    (True, {'cache_hits': 1, 'cache_misses': 0})
    """

    def __init__(
        self,
        file: AnswerFile,
        names: Sequence[str],
        called: str,
        retriever: Retriever | None,
        corpus: Corpus | None = None,
    ) -> None:
        self.retriever = retriever
        """The backend; None where answers are replayed."""
        self.corpus = corpus
        """The passages that the backend searches, where it is an index on this machine."""
        self._file, self._names, self._called = file, tuple(names), called
        self._hits = self._misses = 0
        self._counting = threading.Lock()

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query what the backend finds, now or when it was first asked.

        Raises ReplayError for a query that is not there to be replayed, DataError where the file is damaged,
        TypeError where the backend breaks its contract, and what the backend raises.
        """

        def ask(missing: list[str]) -> list[list[Passage]]:
            assert self.retriever is not None
            found = self.retriever.search(missing, k)
            check_ranked(type(self.retriever).__name__, found, len(missing))
            return [list(passages[:k]) for passages in found]

        found = self._answers("search", queries, k, ask)
        return [list(found[query]) for query in queries]

    def facts(self) -> dict[str, str | int]:
        """What the backend tells about itself, and how many answers came from the file."""
        counts = {"cache_hits": self._hits, "cache_misses": self._misses}
        return {**facts_of(self.retriever), **counts}

    def __deepcopy__(self, memo: object) -> CachedSearch:
        return self  # Gymnasium copies an environment's arguments, and a cache is there to be shared

    def __reduce__(self) -> tuple[Any, ...]:
        """Where it is unpickled, it goes on with the same file, and counts anew."""
        return type(self), (self._file, self._names, self._called, self.retriever, self.corpus)

    def _answers(
        self,
        what: Literal["search", "documents"],
        texts: Sequence[str],
        k: int,
        ask: Callable[[list[str]], Iterable[Sequence[Passage]]],
    ) -> dict[str, tuple[Passage, ...]]:
        renewed = what == "documents"
        keys = {text: [_key(name, what, k, text) for name in self._names] for text in texts}
        there = self._file.read([key for each in keys.values() for key in each])
        if renewed and self.retriever is not None:
            # A page that could not be read then may be there now; a replay has none.
            there = {key: value for key, value in there.items() if value != NOTHING}
        missing = [text for text, own in keys.items() if not any(key in there for key in own)]
        if missing:
            if self.retriever is None:
                raise ReplayError(self._not_there(what, missing[0], k))
            name = type(self.retriever).__name__
            found = zip(missing, ask(missing), strict=True)
            values = {keys[text][0]: _encoded(each, name) for text, each in found}
            there |= self._file.keep(values, renewed)
        with self._counting:
            self._hits += len(keys) - len(missing)
            self._misses += len(missing)
        return {
            text: _decoded(next(there[key] for key in own if key in there), self._file)
            for text, own in keys.items()
        }

    def _not_there(self, what: str, text: str, k: int) -> str:
        asked = f"the query {text[:200]!r} (k={k})" if what == "search" else f"the document {text[:200]!r}"
        return (
            f"{self._file.path.parent} holds no answer of {self._called} to {asked}: this is another run "
            "than was recorded there; without replay: the retriever is asked for what is missing"
        )


class CachedDocuments(CachedSearch):
    """The same for a retriever that gives documents too."""

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        """For each passage id its document, as the backend gives it, now or when it was first asked."""

        def ask(missing: list[str]) -> list[tuple[Passage, ...]]:
            source: DocumentSource = self.retriever  # type: ignore[assignment]
            found = source.documents(missing)
            check_found(type(source).__name__, found, len(missing))
            return found

        found = self._answers("documents", ids, 0, ask)
        return [found[id_] for id_ in ids]


class Unopened:
    """An index that is loaded when something is first asked of it.

    >>> from igpo_gym.search import BM25Index
    >>> passages = Unopened(lambda: BM25Index.build([Passage("1", "Danzig", "A port.")]))
    >>> bool(passages), len(passages), passages[0].title
    (True, 1, 'Danzig')
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._corpus = make, cache(make)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self._corpus())

    def __getitem__(self, number: int) -> Passage:
        passage: Passage = self._corpus()[number]
        return passage

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """What the index finds."""
        found: list[list[Passage]] = self._corpus().search(queries, k)
        return found

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        """The documents of the index."""
        found: list[tuple[Passage, ...]] = self._corpus().documents(ids)
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return Unopened, (self._make,)


def cached(
    called: str,
    asked: Sequence[str],
    setting: CacheSetting,
    make: Callable[[], Retriever],
    corpus: Callable[[Retriever | None], Corpus | None],
    by_content: bool = False,
) -> CachedSearch:
    """The retriever that messages call ``called``, behind a cache.

    ``asked`` is what it is asked for as: the identities that its spec gives, one for each replica, or none
    for an object. What it says of itself (``identity``) comes before them, unless they say all that its
    results depend on (``by_content``). ``make`` constructs it, and is not called where answers are replayed:
    then those are taken that were recorded for the same spec. ``corpus`` gives the passages of an index on
    this machine, from the retriever or without it. Raises SpecError for an object without an identity, and
    DataError for a file that cannot be used, or that holds nothing to replay of this backend.
    """
    asked = [setting.backend] if setting.backend else asked
    if not asked:
        raise SpecError(
            f"a search cache must know which backend {called} is: give it an attribute identity, a text that "
            "changes when what it finds does, or name it in the setting: search_cache='FOLDER#backend=NAME'"
        )
    if setting.replay:
        file = AnswerFile(setting.folder, read_only=True)
        known = file.backends()
        backends = [known[each] for each in asked if each in known]
        if not backends:
            held = ", ".join(map(repr, sorted(known))) or "nothing"
            raise DataError(
                file.path.parent,
                f"nothing was recorded of {called}, which is {asked[0]!r}; what is there is of: {held}; "
                "search_cache=...#backend=ONE OF THESE answers from it",
            )
        retriever = None
    else:
        retriever = make()
        own = "" if setting.backend or by_content else identity_of(retriever)
        documents = documents_of(retriever) is not None
        backends = [Backend(each, documents) for each in ([own] if own else asked)]
        file = AnswerFile(setting.folder)
        file.name(asked[0], backends[0])
    kind = CachedDocuments if any(backend.documents for backend in backends) else CachedSearch
    return kind(file, [backend.identity for backend in backends], called, retriever, corpus(retriever))


def _bytes(value: Any) -> bytes:
    """A value as JSON from which any text comes back as it was, lone surrogates included."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _key(identity: str, what: str, k: int, text: str) -> bytes:
    """What an answer is kept under: queries may be of protected questions, and stand in no file."""
    return hashlib.blake2b(_bytes([identity, what, int(k), text]), digest_size=16).digest()


def _encoded(passages: Sequence[Passage], name: str) -> bytes:
    return _bytes([_fields(each, name) for each in passages])


def _fields(passage: Passage, name: str) -> list[str | float]:
    try:
        check_texts(passage)
        return [passage.id, passage.title, passage.text, float(passage.score)]
    except (TypeError, ValueError):
        raise TypeError(
            f"the retriever {name} returned a passage with fields of wrong types: {passage!r:.90}"
        ) from None


def _decoded(value: bytes, file: AnswerFile) -> tuple[Passage, ...]:
    try:
        return tuple([Passage(*fields) for fields in json.loads(value.decode("utf-8", "surrogatepass"))])
    except (ValueError, TypeError, RecursionError):
        raise DataError(file.path, "the search cache is damaged; remove it, or name another folder") from None
