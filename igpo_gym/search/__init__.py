"""Search backends."""

from __future__ import annotations

import hashlib
import shutil
import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from weakref import WeakValueDictionary

from igpo_gym.data.files import content_hash
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, SpecError
from igpo_gym.search.bm25 import FORMAT, BM25Index
from igpo_gym.search.corpus import read_corpus
from igpo_gym.search.interface import Retriever
from igpo_gym.storage import cache_dir

__all__ = ["BM25Index", "Retriever", "read_corpus", "resolve_search"]

_FORMS = (
    '"bm25" (the passages that come with the questions), "bm25:FOLDER" (a saved index), '
    '"bm25:FILE.jsonl" or "bm25:FILE.jsonl.gz" (a corpus, indexed once and cached)'
)

_shared: WeakValueDictionary[str, BM25Index] = WeakValueDictionary()
_sharing = threading.Lock()


def resolve_search(search: str | Retriever | None, questions: QuestionSet) -> Retriever:
    """A retriever from a spec, or the one that is given; None is "bm25".

    Specs: ``"bm25"`` indexes the passages of ``questions``, ``"bm25:FOLDER"`` loads a saved index,
    ``"bm25:FILE.jsonl[.gz]"`` indexes a corpus. What is built here is cached on disk by content, where the
    questions have a fingerprint, and equal specs share one index while it is in use.

    Raises SpecError for any other spec and where "bm25" has no passages to work on, DataError for what is
    wrong with a corpus or an index.
    """
    if search is None or search == "bm25":
        return _index_of(questions)
    if not isinstance(search, str):
        if not callable(getattr(search, "search", None)):
            raise SpecError(
                f"{search!r:.60} is no retriever: it has no search(queries, k); or give one of: {_FORMS}"
            )
        return search
    scheme, _, place = search.partition(":")
    if scheme in ("http", "https"):
        raise SpecError(f"search servers cannot be used yet ({search}); give one of: {_FORMS}")
    if scheme != "bm25" or not place:
        raise SpecError(f"unknown search {search!r}; give one of: {_FORMS}")
    path = Path(place)
    if path.is_file():
        return _cached(content_hash(path), lambda: read_corpus(path))
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        raise DataError(path, "no such file")
    return _share(f"{path.resolve()} {_age(path)}", lambda: BM25Index.load(path))


def _index_of(questions: QuestionSet) -> BM25Index:
    if not questions.passages:
        raise SpecError(
            f"the questions {questions.name!r} bring no passages to search; give search= one of: {_FORMS}"
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
    with _sharing:
        index = _shared.get(key)
        if index is None:
            index = _shared[key] = make()
        return index


def _age(folder: Path) -> int:
    """When the index in a folder was written, so that a new one there is not taken for the old."""
    manifest = folder / "manifest.json"
    return manifest.stat().st_mtime_ns if manifest.is_file() else 0
