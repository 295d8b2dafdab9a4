"""Search backends."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TypeGuard

import igpo_gym.specs as specs
from igpo_gym.data.interface import QuestionSet
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.search.bm25.sharing import bm25_index, index_place
from igpo_gym.search.cache import CachedSearch, CacheSetting, Unopened, cached
from igpo_gym.search.corpus import read_corpus
from igpo_gym.search.identity import identity_of, spec_identities
from igpo_gym.search.interface import Corpus, Retriever
from igpo_gym.text import without_credentials

__all__ = ["BM25Index", "CachedSearch", "Retriever", "corpus_of", "read_corpus", "resolve_search"]

_FORM = (
    '"bm25" (the passages that come with the questions), "bm25:FOLDER" (a saved index), '
    '"bm25:FILE.jsonl" (a corpus in any form that index build reads, indexed once and cached)'
)
specs.register("search", "bm25", bm25_index, form=_FORM, files=True)
specs.register("search", specs.PATH, bm25_index, form="FOLDER or FILE (as behind bm25:)")
specs.register(
    "search",
    "dense",
    "igpo_gym.search.dense:dense",
    form='"dense:FOLDER" (index build --dense)',
    files=True,
    runs_code=lambda spec: "model" in spec.options and not Path(spec.options["model"]).exists(),  # of the hub
)
specs.register(
    "search",
    "hybrid",
    "igpo_gym.search.hybrid:hybrid",
    form='"hybrid:PART,PART#k=60" (their rankings joined, as in hybrid:bm25:FOLDER,dense:FOLDER)',
    parts=True,
)
specs.register(
    "search",
    "flawed",
    "igpo_gym.search.flawed:flawed",
    form='"flawed:PART#shown=2,miss=0.2" (shows beginnings of documents, misses a share of queries)',
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

    Questions that say what their search lacks (``flaws``) get it around whatever is named here.

    Raises SpecError for any other spec and where "bm25" has no passages to work on, DataError for what is
    wrong with a corpus, an index or a cache.
    """
    found = _resolved("bm25" if search is None else search, questions, search_cache)
    if questions is not None and questions.flaws:
        from igpo_gym.search.flawed import Flawed

        return Flawed(found, questions.flaws)
    return found


def _resolved(
    spec: str | Retriever, questions: QuestionSet, search_cache: str | Path | None = None
) -> Retriever:
    """The retriever of a spec, without what the questions say that it lacks."""

    def make() -> Retriever:
        found: Retriever = specs.resolve("search", spec, questions=questions)
        return found

    if search_cache is None:
        return make()
    setting = CacheSetting.parse(search_cache)
    if isinstance(spec, str):
        called, asked = without_credentials(spec), spec_identities(spec, questions)
    else:
        called, asked = type(make()).__name__, tuple(filter(None, [identity_of(spec)]))

    def corpus(retriever: Retriever | None) -> Corpus | None:
        given = spec if retriever is None else retriever
        return _corpus_named(given, questions) if isinstance(given, str) else corpus_of(given)

    by_content = isinstance(spec, str) and index_place(spec) is not None
    return cached(called, asked, setting, make, corpus, by_content)


def _corpus_named(search: str, questions: QuestionSet) -> Corpus | None:
    """What :func:`corpus_of` would give for the retriever of a spec, of which nothing is opened yet."""
    spec = specs.Spec.parse(search)
    if inner := specs.made_of("search", spec.place):
        named = (_corpus_named(part, questions) for part in inner)
        first = next((corpus for corpus in named if corpus is not None), None)
        if first is not None and spec.place.startswith("flawed:"):
            return Unopened(partial(_opened, search, questions))
        return first
    place = index_place(search)
    if place is None and spec.place.startswith("dense:"):
        place = spec.place.removeprefix("dense:")
    there = place is not None and (Path(place).exists() if place else bool(questions.passages))
    return Unopened(partial(_resolved, search, questions)) if there else None


def _opened(search: str, questions: QuestionSet) -> Corpus | None:
    return corpus_of(_resolved(search, questions))


def corpus_of(retriever: Retriever) -> Corpus | None:
    """The passages that a retriever searches, where it gives them by number, as an index on this machine.

    Of several that are joined, those of the first that does.
    """
    from igpo_gym.search.flawed import Beginnings, Flawed
    from igpo_gym.search.hybrid import Hybrid

    if isinstance(retriever, CachedSearch):
        return retriever.corpus
    if isinstance(retriever, Flawed):
        corpus = corpus_of(retriever.retriever)
        return None if corpus is None else Beginnings(corpus, retriever)
    if isinstance(retriever, Hybrid):
        return next((corpus for part in retriever.parts if (corpus := corpus_of(part)) is not None), None)
    return retriever if _is_corpus(retriever) else None


def _is_corpus(retriever: object) -> TypeGuard[Corpus]:
    return hasattr(retriever, "__len__") and hasattr(retriever, "__getitem__")
