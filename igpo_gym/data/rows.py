"""The records of a file with their places, whatever it is: JSON lines, a JSON array, CSV, TSV or parquet.

A layout says what the fields of a record mean; what kind of file the records stand in is found out here.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

from igpo_gym.data.answers import answers_of
from igpo_gym.data.files import (
    BROKEN,
    LINE_BYTES,
    WHOLE_BYTES,
    field,
    id_field,
    json_lines,
    lines,
    no_text,
    open_bytes,
    parse_json,
    raised,
    whole,
)
from igpo_gym.data.files import text_field as text_of
from igpo_gym.errors import DataError, first_line
from igpo_gym.libraries import needs

_BATCH = 128
_NARROW_BATCH = 1024
"""How many rows of a parquet file are held at a time."""

NAMES_COLUMNS = "the first line of a table names its columns, such as question and answer"

_HEAD = 1 << 20
"""How much of a JSON array is read to see its first entry."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record, and where it stands. What its methods ask for and do not find is a ValueError.

    >>> row = Row({"qid": 7, "question": "Where?", "answer": "Danzig"}, 1)
    >>> row.id("id", "qid"), row.text("question"), row.answers("answer")
    ('7', 'Where?', ('Danzig',))
    >>> row.text("query")
    Traceback (most recent call last):
    ValueError: no 'query'; there is: qid, question, answer
    """

    fields: Mapping[str, Any]
    number: int
    """The line, or the entry of an array, or the row of a parquet file; from 1."""
    unit: Literal["line", "entry", "row"] = "line"
    columns: tuple[str, ...] = ()
    """The names of a table's columns, those of its empty cells too. Its first line may be no names at all but
    a question and its answer."""

    def get(self, *names: str) -> Any:
        """The first of the fields that is there; None where none is."""
        return next((self.fields[name] for name in names if self.fields.get(name) is not None), None)

    def field(self, *names: str) -> Any:
        """The first of the fields that is there."""
        if self.columns and self.get(*names) is None:
            empty = [column for column in self.columns if column.lower() in map(str.lower, names)]
            missing = f"no {' or '.join(map(repr, names))}; {NAMES_COLUMNS}"
            raise ValueError(f"{empty[0]!r} holds an empty cell" if empty else missing)
        return field(self.fields, *names)

    def text(self, *names: str) -> str:
        """The same, for a text."""
        self.field(*names)
        return text_of(self.fields, *names)

    def id(self, *names: str) -> str:
        """The same, for an id without blanks at its ends; the number where none is there."""
        return str(self.number) if self.get(*names) is None else id_field(self.fields, *names)

    def own_id(self, *names: str) -> str:
        """The same, where there must be one."""
        self.field(*names)
        return id_field(self.fields, *names)

    def items(self, *names: str) -> list[Any]:
        """The same, for a list; empty where none is there."""
        value = self.get(*names)
        if value is not None and not isinstance(value, list):
            raise ValueError(f"{names[0]!r} must be a list, found {type(value).__name__}")
        return value or []

    def objects(self, name: str) -> list[dict[str, Any]]:
        """A field's list of objects."""
        value = self.field(name)
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise ValueError(f"{name!r} must be a list of objects")
        return value

    def answers(self, *names: str) -> tuple[str, ...]:
        """The same, for an answer or several (:func:`igpo_gym.data.answers.answers_of`)."""
        value = self.field(*names)
        try:
            return answers_of(value)
        except ValueError as problem:
            name = next(name for name in names if self.fields.get(name) is value)
            raise ValueError(f"{name!r} holds {problem}") from None

    def hops(self, name: str = "hops") -> int | None:
        """A number of hops; None where there is none, or none that is a number (nan)."""
        value = self.get(name)
        with suppress(ValueError):
            if isinstance(value, str):
                value = float(value)  # from a table; where some have none, pandas writes 2 as 2.0
        if value is None or value != value:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or value % 1 or value < 1:
            # Never the value: where a comma is not quoted, the answer stands here.
            found = "another number" if number else type(value).__name__
            raise ValueError(f"{name!r} must be a whole number from 1, found {found}")
        return int(value)

    def wrong(self, path: Path, problem: object) -> DataError:
        """The error for something wrong with it."""
        if self.unit == "line":
            return DataError(path, str(problem), self.number)
        return DataError(path, f"{self.unit} {self.number}: {problem}")


def rows(
    path: Path,
    within: str = "",
    unread: Callable[[DataError], None] = raised,
    *,
    columns: Collection[str] = (),
    file: BufferedReader | None = None,
) -> Iterator[Row]:
    """The records of a file.

    Args:
        path: what is read.
        within: the field of a JSON object that holds them all, if there is one; capitals do not matter.
        unread: is told of a line or an entry of an array that is no JSON object; by default the first one is
            raised.
        columns: those that are wanted. Of a parquet file that has any of them no others are read, and in a
            table they are there though a cell is empty.
        file: is read where it is open already, such as standard input; ``path`` then is its name in errors.

    Raises DataError for what is wrong with the file, and MissingExtraError for parquet without pyarrow.
    """
    kind = kind_of(path, within, file)
    if kind == "parquet":
        if file is not None:
            raise DataError(path, "parquet cannot be read from a pipe; name the file")
        return parquet_rows(path, columns)
    if kind == "table":
        return table_rows(path, columns, file)
    if kind == "lines":
        return (Row(record, number) for number, record in json_lines(path, unread, file))
    return _entries(path, within if kind == "object" else "", unread, file)


Kind = Literal["parquet", "array", "object", "table", "lines"]


def kind_of(path: Path, within: str = "", file: BufferedReader | None = None) -> Kind:
    """What kind of file it is, found out by its beginning; see :func:`rows` for ``within`` and ``file``.

    What is called ``.parquet`` is read as such whatever it is, and so refused as no parquet file. Raises
    DataError for what is known to be no text, such as a packed file whose name does not say so.
    """
    head = head_of(path, 4096, file)
    if told := no_text(head):
        raise DataError(path, told)
    if head.startswith(b"PAR1") or path.suffix == ".parquet":
        return "parquet"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"["):
        return "array"
    if within and text.startswith(b"{") and _holds_all(text, within):
        return "object"
    if text and not text.startswith(b"{") and ".json" not in "".join(path.suffixes):
        return "table"
    return "lines"


_SCALARS = rb'\{\s*(?:"[^"]*"\s*:\s*(?:"[^"]*"|[\w.+-]+)\s*,\s*)*'
"""The beginning of a JSON object, as far as its fields hold no lists and no objects."""


def _holds_all(text: bytes, within: str) -> bool:
    """Whether the beginning of a file is that of a JSON object with the records in a field, not of a line."""
    first, _, others = text.partition(b"\n")
    try:
        found = json.loads(first)
        records = found.get(_named(found, within))
    except (ValueError, RecursionError):  # the line ends further on
        return re.match(rb'%s"%s"\s*:' % (_SCALARS, within.encode()), text, re.IGNORECASE) is not None
    alone = isinstance(records, list) and all(isinstance(record, dict) for record in records)
    return alone and not others.strip()


def _named(record: Mapping[str, Any], name: str) -> str:
    """The name of a field as a record has it, whatever its capitals."""
    return next((each for each in record if each.lower() == name.lower()), name)


def first_row(path: Path, within: str = "") -> Row | None:
    """The first record of a file, without reading all of a large array; None where there is none."""
    text = head_of(path, _HEAD).decode("utf-8-sig", "ignore").lstrip()
    if text.startswith("["):
        with suppress(ValueError, RecursionError):
            record, _ = json.JSONDecoder().raw_decode(text, len(text) - len(text[1:].lstrip()))
            if isinstance(record, dict):
                return Row(record, 1, "entry")
    return next(rows(path, within), None)


def table_rows(
    path: Path, columns: Collection[str] = (), file: BufferedReader | None = None
) -> Iterator[Row]:
    """The lines of a table by the names in its first line, no two of which differ by capitals alone.

    A cell that is empty is a field that is not there, except in ``columns``. Columns stand apart by tabs
    where the first line has one, else by commas, or by semicolons where it has those alone. A cell may hold
    lines of its own; a row's number is that of its first line.
    """
    names: list[str] | None = None
    number = 1
    texts = _decoded(path, file)
    first = next(texts, "")
    delimiter = next((each for each in "\t,;" if each in first), ",")
    csv.field_size_limit(max(csv.field_size_limit(), LINE_BYTES))  # its own limit is 131,072 characters
    reader = csv.reader(_chained(first, texts), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if names is None:
                names = [name.strip() for name in cells]
                lowered = [name.lower() for name in names]
                if repeated := [name for name, count in Counter(lowered).items() if name and count > 1]:
                    places = [str(place) for place, name in enumerate(lowered, 1) if name == repeated[0]]
                    raise DataError(
                        path, f"columns {' and '.join(places)} have one name; {NAMES_COLUMNS}", number
                    )
            elif cells and len(cells) != len(names):
                raise DataError(path, f"{len(cells)} columns, not the {len(names)} of the first line", number)
            elif cells:
                fields = {
                    name: cell for name, cell in zip(names, cells, strict=True) if cell or name in columns
                }
                yield Row(fields, number, columns=tuple(names))
            number = reader.line_num + 1
    except csv.Error as problem:
        raise DataError(path, f"not a table: {problem}", number) from None


def _chained(first: str, texts: Iterator[str]) -> Iterator[str]:
    yield first
    yield from texts


def _decoded(path: Path, file: BufferedReader | None) -> Iterator[str]:
    for number, line in lines(path, file):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(path, f"not UTF-8: {error.reason}", number) from None


def parquet_rows(path: Path, columns: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a parquet file, as Python's values; of ``columns`` alone, if it has any of them."""
    with needs("reading parquet files", "data", "pyarrow"):
        import pyarrow
        from pyarrow import parquet

        from igpo_gym.data.arrow import Columns
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns_of_file = Columns(file.schema_arrow)
            wanted = [name for name in file.schema_arrow.names if name in columns] or None
            for place in range(file.num_row_groups):
                if not wanted and file.metadata.row_group(place).total_byte_size > WHOLE_BYTES:
                    limit = f"a row group of more than {WHOLE_BYTES >> 20} MiB"
                    raise DataError(path, f"{limit}; write it with smaller ones")
            for batch in file.iter_batches(_BATCH if wanted is None else _NARROW_BATCH, columns=wanted):
                for record in batch.to_pylist():
                    number += 1
                    try:
                        row = Row(columns_of_file.as_meant(record), number, "row")
                    except ValueError as problem:
                        raise Row(record, number, "row").wrong(path, problem) from None
                    yield row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as problem:
        after = f" after row {number}" if number else ""
        raise DataError(path, f"not a whole parquet file{after}: {first_line(problem)}") from None


def _entries(
    path: Path, within: str, unread: Callable[[DataError], None], file: BufferedReader | None
) -> Iterator[Row]:
    """The entries of a JSON array, or of the one in a field of a JSON object."""
    try:
        found = parse_json(whole(path, file).decode("utf-8-sig"))
        within = _named(found, within) if within else ""
        entries = field(found, within) if within else found
        if not isinstance(entries, list):
            raise ValueError(f"{within!r} must be a list, found {type(entries).__name__}")
    except json.JSONDecodeError as error:
        raise DataError(path, f"not JSON: {error.msg}", error.lineno) from None
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"not JSON: {error}") from None
    for number, record in enumerate(entries, 1):
        if not isinstance(record, dict):
            problem = f"expected a JSON object, found {type(record).__name__}"
            unread(Row({}, number, "entry").wrong(path, problem))
            continue
        yield Row(record, number, "entry")


def head_of(path: Path, size: int, file: BufferedReader | None = None) -> bytes:
    """The first bytes of a file; what is damaged within them is found out by its reader.

    ``file`` is looked into where it is open already, and still gives those bytes when it is read.
    DataError for a pipe: it is gone once its beginning is read, and one without a writer never begins.
    """
    if file is not None:
        return file.peek(size)[:size]
    if path.is_fifo():
        raise DataError(path, "a pipe, which cannot be read twice: write what it gives into a file first")
    with open_bytes(path) as opened, suppress(*BROKEN):
        return opened.read(size)
    return b""
