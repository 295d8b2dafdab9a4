"""Search backends."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeGuard
from weakref import WeakValueDictionary

import igpo_gym.specs as specs
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, SpecError
from igpo_gym.search.bm25 import FORMAT, BM25Index
from igpo_gym.search.cache import CachedSearch, CacheSetting, Unopened, cached
from igpo_gym.search.corpus import located, read_corpus
from igpo_gym.search.identity import identity_of, passages_fingerprint, spec_identities
from igpo_gym.search.interface import Corpus, Retriever
from igpo_gym.storage import cache_dir
from igpo_gym.text import without_credentials

__all__ = ["BM25Index", "CachedSearch", "Retriever", "corpus_of", "read_corpus", "resolve_search"]

_FORM = (
    '"bm25" (the passages that come with the questions), "bm25:FOLDER" (a saved index), '
    '"bm25:FILE.jsonl" (a corpus in any form that index build reads, indexed once and cached)'
)

_CORPORA = (".jsonl", ".json", ".tsv", ".parquet")
"""Names of which one expects a corpus, where there is no such file."""

_shared: WeakValueDictionary[str, BM25Index] = WeakValueDictionary()


def bm25(place: str = "", *, questions: QuestionSet) -> BM25Index:
    """What the spec ``bm25`` calls: an index of the questions' passages, of a corpus file, or a saved one."""
    if not place:
        return _index_of(questions)
    path = Path(place)
    if path.is_file():
        with located(path):
            return _cached(specs.fingerprint(path), lambda: read_corpus(path))
    if path.name.removesuffix(".gz").removesuffix(".zst").endswith(_CORPORA):
        raise DataError(path, "no such file")
    return _share(f"{path.resolve()} {specs.fingerprint(path)}", lambda: BM25Index.load(path))


specs.register("search", "bm25", bm25, form=_FORM, files=True)
specs.register("search", specs.PATH, bm25, form="FOLDER or FILE (as behind bm25:)")
specs.register(
    "search", "dense", "igpo_gym.search.dense:dense", form='"dense:FOLDER" (index build --dense)', files=True
)
specs.register(
    "search",
    "hybrid",
    "igpo_gym.search.hybrid:hybrid",
    form='"hybrid:PART,PART#k=60" (their rankings joined, as in hybrid:bm25:FOLDER,dense:FOLDER)',
    parts=True,
)
for _name in ("http", "https"):
    specs.register(
        "search",
        _name,
        "igpo_gym.search.http:search_server",
        form="http://HOST:8000/retrieve (a search server; several URLs, joined by commas, are replicas)",
    )
specs.register("search", "serper", "igpo_gym.search.web:serper")
specs.register("search", "tavily", "igpo_gym.search.web:tavily")
specs.register("search", "searxng", "igpo_gym.search.web:searxng", form="searxng:http://HOST")


def resolve_search(
    search: str | Retriever | None, questions: QuestionSet, search_cache: str | Path | None = None
) -> Retriever:
    """A retriever from a spec, or the one that is given; None is "bm25".

    Specs: ``"bm25"`` indexes the passages of ``questions``, ``"bm25:FOLDER"`` loads a saved index,
    ``"bm25:FILE"`` indexes a corpus, ``"dense:FOLDER"`` loads a dense index, ``"hybrid:PART,PART"`` joins the
    rankings of others, ``"http://host:8000/retrieve"`` asks a server (see :mod:`igpo_gym.search.http`). What
    is built here is cached on disk by content, where the questions have a fingerprint, and equal specs share
    one index while it is in use.

    With ``search_cache``, ``"FOLDER"`` or ``"replay:FOLDER"``, it stands behind a cache
    (:class:`igpo_gym.search.cache.CachedSearch`), and is not constructed where answers are replayed.

    Raises SpecError for any other spec and where "bm25" has no passages to work on, DataError for what is
    wrong with a corpus, an index or a cache.
    """
    spec = "bm25" if search is None else search

    def make() -> Retriever:
        found: Retriever = specs.resolve("search", spec, questions=questions)
        return found

    if search_cache is None:
        return make()
    setting = CacheSetting.parse(search_cache)
    if isinstance(spec, str):
        called, asked = without_credentials(spec), _asked(spec, questions)
    else:
        called, asked = type(make()).__name__, tuple(filter(None, [identity_of(spec)]))

    def corpus(retriever: Retriever | None) -> Corpus | None:
        given = spec if retriever is None else retriever
        if not isinstance(given, str):
            return corpus_of(given)
        place = _index_place(given)
        return Unopened(lambda: bm25(place, questions=questions)) if place else None

    return cached(called, asked, setting, make, corpus)


def _asked(spec: str, questions: QuestionSet) -> tuple[str, ...]:
    """The identities that a spec gives. That of an index is its content: a copy is the same backend."""
    place = _index_place(spec)
    if place is None:
        return spec_identities(spec, questions)
    content = specs.fingerprint(Path(place)) if place else passages_fingerprint(questions)
    return (f"bm25 {FORMAT} {content or place}",)


def _index_place(spec: str) -> str | None:
    """The place of the index that a spec names: empty for the questions' own, None where it names none."""
    make, place = specs.placed("search", specs.Spec.parse(spec).place)
    return place if make is bm25 else None


def corpus_of(retriever: Retriever) -> Corpus | None:
    """The passages that a retriever searches, where it gives them by number, as an index on this machine."""
    if isinstance(retriever, CachedSearch):
        return retriever.corpus
    return retriever if _is_corpus(retriever) else None


def _is_corpus(retriever: object) -> TypeGuard[Corpus]:
    return hasattr(retriever, "__len__") and hasattr(retriever, "__getitem__")


def _index_of(questions: QuestionSet) -> BM25Index:
    if not questions.passages:
        raise SpecError(
            f"the questions {questions.name!r} bring no passages to search; give search= one of: "
            f"{specs.forms('search')}"
        )
    if not questions.fingerprint:
        return BM25Index.build(questions.passages)
    return _cached(questions.fingerprint, lambda: questions.passages)


def _cached(fingerprint: str, passages: Callable[[], Iterable[Passage]]) -> BM25Index:
    """The index under this fingerprint: that of the process, else of the disk, else a new one."""
    key = hashlib.blake2b(f"{FORMAT} {fingerprint}".encode(), digest_size=16).hexdigest()
    return _share(key, lambda: _load_or_build(cache_dir() / "bm25" / key, passages))


def _load_or_build(folder: Path, passages: Callable[[], Iterable[Passage]]) -> BM25Index:
    try:
        return BM25Index.load(folder)
    except DataError:
        # Not there, or damaged: what is cached can be made again.
        shutil.rmtree(folder, ignore_errors=True)
    index = BM25Index.build(passages())
    try:
        index.save(folder)
    except OSError as error:
        warnings.warn(f"the search index is not cached: {error}", RuntimeWarning, stacklevel=2)
        return index
    return BM25Index.load(folder)


def _share(key: str, make: Callable[[], BM25Index]) -> BM25Index:
    with specs.LOCK:
        index = _shared.get(key)
        if index is None:
            index = _shared[key] = make()
        return index
