"""Search backends."""

from __future__ import annotations

import igpo_gym.specs as specs
from igpo_gym.data.interface import QuestionSet
from igpo_gym.errors import SpecError
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.search.corpus import read_corpus
from igpo_gym.search.interface import Retriever
from igpo_gym.text import without_credentials

__all__ = ["BM25Index", "Retriever", "read_corpus", "resolve_search"]

_FORM = (
    '"bm25" (the passages that come with the questions), "bm25:FOLDER" (a saved index), '
    '"bm25:FILE.jsonl" or "bm25:FILE.jsonl.gz" (a corpus, indexed once and cached)'
)
_BM25 = "igpo_gym.search.bm25.sharing:bm25"


def _server(url: str) -> Retriever:
    raise SpecError(
        f"search servers cannot be used yet ({without_credentials(url)}); give one of: "
        f"{specs.forms('search')}"
    )


specs.register("search", "bm25", _BM25, form=_FORM, files=True)
specs.register("search", specs.PATH, _BM25, form="FOLDER or FILE (as behind bm25:)")
for _name in ("http", "https"):
    specs.register("search", _name, _server, form=_FORM)


def resolve_search(search: str | Retriever | None, questions: QuestionSet) -> Retriever:
    """A retriever from a spec, or the one that is given; None is "bm25".

    Specs: ``"bm25"`` indexes the passages of ``questions``, ``"bm25:FOLDER"`` loads a saved index,
    ``"bm25:FILE.jsonl[.gz]"`` indexes a corpus. What is built here is cached on disk by content, where the
    questions have a fingerprint, and equal specs share one index while it is in use.

    Raises SpecError for any other spec and where "bm25" has no passages to work on, DataError for what is
    wrong with a corpus or an index.
    """
    found: Retriever = specs.resolve("search", "bm25" if search is None else search, questions=questions)
    return found
