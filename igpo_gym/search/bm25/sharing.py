"""What the spec ``bm25`` calls: indices that are made once, cached on the disk, and shared while in use."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import igpo_gym.specs as specs
from igpo_gym.data.files import packing
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, SpecError
from igpo_gym.search.bm25.folder import FORMAT
from igpo_gym.search.bm25.index import BM25Index
from igpo_gym.search.corpus import located, read_corpus
from igpo_gym.search.shared import shared
from igpo_gym.storage import cache_dir

_CORPORA = (".jsonl", ".json", ".tsv", ".parquet")
"""Names of which one expects a corpus, where there is no such file."""

_READ = 2
"""The version of how passages are read from a corpus."""


def bm25_index(place: str = "", *, questions: QuestionSet) -> BM25Index:
    """An index of the questions' passages, of a corpus file, or a saved one.

    Equal specs share one index while it is in use. Raises SpecError where the questions bring no passages,
    DataError for what is wrong with a corpus or an index.
    """
    if not place:
        return _index_of(questions)
    path = Path(place)
    if path.is_file():
        with located(path):
            return _cached(f"{_READ} {specs.fingerprint(path)}", lambda: read_corpus(path))
    if (path.stem if packing(path) else path.name).endswith(_CORPORA):
        raise DataError(path, "no such file")
    return shared(f"bm25 {path.resolve()} {specs.fingerprint(path)}", lambda: BM25Index.load(path))


def index_place(spec: str) -> str | None:
    """The place of the index that a spec names: empty for the questions' own, None where it names none.

    >>> index_place("bm25:wiki"), index_place("bm25"), index_place("http://host:8000/retrieve")
    ('wiki', '', None)
    """
    make, place = specs.placed("search", specs.Spec.parse(spec).place)
    return place if make is bm25_index else None


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
    return shared(f"bm25 {key}", lambda: _load_or_build(cache_dir() / "bm25" / key, passages))


def _load_or_build(folder: Path, passages: Callable[[], Iterable[Passage]]) -> BM25Index:
    try:
        return BM25Index.load(folder)
    except DataError:
        pass  # not there, or damaged: what is cached can be made again
    try:
        return BM25Index.build_folder(passages(), folder)
    except OSError as error:
        warnings.warn(f"the search index is not cached: {error}", RuntimeWarning, stacklevel=2)
        return BM25Index.build(passages())
