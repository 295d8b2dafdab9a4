"""Reading a corpus of passages from JSON lines, plain or gzipped.

The layout is known from the first line's keys:

- Search-R1: ``{"id": "0", "contents": "\\"Title\\"\\ntext"}``
- BEIR: ``{"_id": "0", "title": "Title", "text": "text"}`` (``id`` will do for ``_id``; a title may be absent)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from igpo_gym.data.files import id_field, json_lines, text_field
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError


def _search_r1(record: dict[str, Any]) -> Passage:
    title, newline, text = text_field(record, "contents").partition("\n")
    if not newline:
        title, text = "", title
    elif len(title) > 1 and title[0] == title[-1] == '"':
        title = title[1:-1]
    return Passage(id_field(record, "id", "_id"), title, text)


def _beir(record: dict[str, Any]) -> Passage:
    title = text_field(record, "title") if record.get("title") is not None else ""
    return Passage(id_field(record, "_id", "id"), title, text_field(record, "text"))


_LAYOUTS: dict[str, Callable[[dict[str, Any]], Passage]] = {"text": _beir, "contents": _search_r1}
"""The key that tells a layout, and how one line of it is read."""


def read_corpus(path: str | Path) -> Iterator[Passage]:
    """The passages of a JSON-lines corpus, as a stream of which only the ids are kept.

    Raises DataError, with the line, for a malformed line, an unknown layout and an id that comes twice, and
    for a file that is missing or has no passages.
    """
    path = Path(path)
    ids: set[str] = set()
    read: Callable[[dict[str, Any]], Passage] | None = None
    for number, record in json_lines(path):
        try:
            read = read or _layout(record)
            passage = read(record)
            if passage.id in ids:
                raise ValueError(f"the passage id {passage.id!r} comes a second time")
        except ValueError as error:
            raise DataError(path, str(error), number) from None
        ids.add(passage.id)
        yield passage
    if read is None:
        raise DataError(path, "the corpus has no passages")


def _layout(record: dict[str, Any]) -> Callable[[dict[str, Any]], Passage]:
    for key, read in _LAYOUTS.items():
        if key in record:
            return read
    raise ValueError(f"no 'contents' (Search-R1) and no 'text' (BEIR) among the keys: {', '.join(record)}")
