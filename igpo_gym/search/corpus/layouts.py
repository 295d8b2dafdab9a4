"""What a record of a corpus is, known from its keys, and the passages in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from igpo_gym.data.files import id_field, text_field
from igpo_gym.data.reading import numbered
from igpo_gym.data.rows import Kind, Row
from igpo_gym.data.sets.hotpotqa import paragraphs
from igpo_gym.episode import Passage
from igpo_gym.search.dialects import titled

Read: TypeAlias = Callable[[Row, int], Iterable[Passage]]
"""The passages of a record, told how many came before it. Raises ValueError for what is wrong in it."""

IDS = ("_id", "id", "docid", "doc_id")
"""The keys under which a passage has its id, in the order in which they are looked for."""

KEYS = frozenset({*IDS, "title", "text", "contents", "context"})
"""What is read of a record."""

KIND_NAMES: Mapping[Kind, str] = {
    "lines": "JSON lines",
    "array": "a JSON array",
    "table": "tab-separated values",
    "parquet": "parquet",
}
"""What holds the records, in words."""


class CorpusLayout(NamedTuple):
    """How the records of a file are read."""

    name: str
    """For a message: whose layout it is, and its keys."""
    read: Read


def recognized(row: Row, kind: Kind, contexts: Contexts) -> CorpusLayout:
    """The layout of a file by its first record; ``kind`` is what holds the records.

    Raises ValueError, with what was looked for, where it is none.

    >>> recognized(Row({"_id": "0", "title": "Danzig", "text": "A port."}, 1), "lines", Contexts()).name
    'BEIR (_id, title, text)'
    """
    record = row.fields
    if "text" in record:
        keys = [key for key in record if key in (*IDS, "title", "text")]
        owner = "Wikipedia-DPR" if kind == "table" else "BEIR" if "_id" in record else ""
        if kind == "array" and record.keys().isdisjoint(IDS):
            return CorpusLayout(f"{', '.join(keys)}; a passage's number is its id", _numbered)
        shown = f"({', '.join(keys)})"
        return CorpusLayout(f"{owner} {shown}" if owner else f"passages {shown}", _titled)
    if "contents" in record:
        return CorpusLayout("Search-R1, as in FlashRAG (id, contents)", _contents)
    if "context" in record:
        return CorpusLayout("HotpotQA (the passages in the contexts of questions)", contexts.read)
    raise ValueError(
        "no 'contents' (Search-R1, FlashRAG), no 'text' (BEIR, Wikipedia-DPR) and no 'context' (HotpotQA) "
        f"among the keys: {', '.join(map(str, record))}"
    )


def _contents(row: Row, number: int) -> Iterable[Passage]:
    title, text = titled(_title(row), text_field(row.fields, "contents"))
    return (Passage(id_field(row.fields, *IDS), title, text),)


def _titled(row: Row, number: int) -> Iterable[Passage]:
    return (Passage(id_field(row.fields, *IDS), _title(row) or "", _text(row)),)


def _numbered(row: Row, number: int) -> Iterable[Passage]:
    return (Passage(str(number), _title(row) or "", _text(row)),)


def _title(row: Row) -> str | None:
    return None if row.get("title") is None else text_field(row.fields, "title")


def _text(row: Row) -> str:
    """The text, or a list of texts, each with the blank that parts it from the one before."""
    texts = row.get("text")
    if isinstance(texts, list) and all(isinstance(each, str) for each in texts):
        return "".join(texts).strip()
    return text_field(row.fields, "text")


class Contexts:
    """The distinct passages in the contexts of HotpotQA's questions, in both layouts of the file.

    Their ids are those of ``load_hotpotqa``, so that the questions' evidence names them: the title, and
    ``title#2`` (then ``#3``, ...) where a title comes again with another text.

    >>> contexts = Contexts()
    >>> [each.id for each in contexts.read(Row({"context": [["Danzig", ["A port.", " Old."]]]}, 1), 0)]
    ['Danzig']
    >>> both = {"title": ["Danzig", "Danzig"], "sentences": [["A port. Old."], ["A trilogy."]]}
    >>> [each.id for each in contexts.read(Row({"context": both}, 2), 1)]
    ['Danzig#2']
    """

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}
        """A hash of each passage's text, by id: a set of questions is small beside a corpus."""

    def read(self, row: Row, number: int) -> Iterator[Passage]:
        """The passages of a question's context that no earlier one had."""
        for title, text in paragraphs(row):
            if not title:
                raise ValueError("a title in 'context' is empty")
            own = hashlib.blake2b(text.encode(), digest_size=16).digest()
            id_ = self._id(title, own)
            if id_ not in self._texts:
                self._texts[id_] = own
                yield Passage(id_, title, text)

    def _id(self, title: str, own: bytes) -> str:
        return numbered(title, lambda id_: self._texts.get(id_, own) != own)
