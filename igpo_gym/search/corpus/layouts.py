"""What a record of a corpus is, known from its keys, and the passages in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from igpo_gym.data.files import field, id_field, text_field
from igpo_gym.episode import Passage
from igpo_gym.search.corpus.sources import Record
from igpo_gym.search.dialects import split_contents

Read: TypeAlias = Callable[[Record, int], Iterable[Passage]]
"""The passages of a record, told how many came before it. Raises ValueError for what is wrong in it."""

KEYS = frozenset({"id", "_id", "title", "text", "contents", "context"})
"""What is read of a record."""


class Layout(NamedTuple):
    """How the records of a file are read."""

    name: str
    """For a message: whose layout it is, and its keys."""
    read: Read


def recognized(record: Record, kind: str, contexts: Contexts) -> Layout:
    """The layout of a file by its first record; ``kind`` is what holds the records.

    Raises ValueError, with what was looked for, where it is none.

    >>> recognized({"_id": "0", "title": "Danzig", "text": "A port."}, "JSON lines", Contexts()).name
    'BEIR (_id, title, text)'
    """
    if "text" in record:
        keys = [key for key in record if key in ("_id", "id", "title", "text")]
        owner = "Wikipedia-DPR" if kind == "tab-separated values" else "BEIR" if "_id" in record else ""
        if kind == "a JSON array" and not {"_id", "id"} & set(record):
            return Layout(f"{', '.join(keys)}; a passage's number is its id", _numbered)
        shown = f"({', '.join(keys)})"
        return Layout(f"{owner} {shown}" if owner else f"passages {shown}", _titled)
    if "contents" in record:
        return Layout("Search-R1, as in FlashRAG (id, contents)", _contents)
    if "context" in record:
        return Layout("HotpotQA (the passages in the contexts of questions)", contexts.read)
    raise ValueError(
        "no 'contents' (Search-R1, FlashRAG), no 'text' (BEIR, Wikipedia-DPR) and no 'context' (HotpotQA) "
        f"among the keys: {', '.join(map(str, record))}"
    )


def _contents(record: Record, number: int) -> Iterable[Passage]:
    title, text = split_contents(text_field(record, "contents"))
    return (Passage(id_field(record, "id", "_id"), title, text),)


def _titled(record: Record, number: int) -> Iterable[Passage]:
    return (Passage(id_field(record, "_id", "id"), _title(record), text_field(record, "text")),)


def _numbered(record: Record, number: int) -> Iterable[Passage]:
    return (Passage(str(number), _title(record), text_field(record, "text")),)


def _title(record: Record) -> str:
    return text_field(record, "title") if record.get("title") is not None else ""


class Contexts:
    """The distinct passages in the contexts of HotpotQA's questions, in both layouts of the file.

    Their ids are those of ``load_hotpotqa``, so that the questions' evidence names them: the title, and
    ``title#2`` (then ``#3``, ...) where a title comes again with another text.

    >>> contexts = Contexts()
    >>> [each.id for each in contexts.read({"context": [["Danzig", ["A port.", " Old."]]]}, 0)]
    ['Danzig']
    >>> both = {"title": ["Danzig", "Danzig"], "sentences": [["A port. Old."], ["A trilogy."]]}
    >>> [each.id for each in contexts.read({"context": both}, 1)]
    ['Danzig#2']
    """

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}
        """A hash of each passage's text, by id: a set of questions is small beside a corpus."""

    def read(self, record: Record, number: int) -> Iterator[Passage]:
        """The passages of a question's context that no earlier one had."""
        for title, sentences in _pairs(field(record, "context")):
            if not isinstance(sentences, list) or not all(isinstance(each, str) for each in sentences):
                raise ValueError(f"the sentences of {title!r:.60} in 'context' must be a list of strings")
            text = "".join(sentences).strip()
            own = hashlib.blake2b(text.encode(), digest_size=16).digest()
            id_, count = title, 1
            while self._texts.get(id_, own) != own:
                count += 1
                id_ = f"{title}#{count}"
            if id_ not in self._texts:
                self._texts[id_] = own
                yield Passage(id_, title, text)


def _pairs(context: Any) -> list[tuple[str, Any]]:
    if isinstance(context, dict):
        titles, sentences = context.get("title"), context.get("sentences")
        if not isinstance(titles, list) or not isinstance(sentences, list) or len(titles) != len(sentences):
            raise ValueError("'context' must have two lists of one length, 'title' and 'sentences'")
        context = list(zip(titles, sentences, strict=True))
    if not isinstance(context, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) and pair[0]
        for pair in context
    ):
        raise ValueError("'context' must be a list of pairs that begin with a title")
    return [(title, sentences) for title, sentences in context]
