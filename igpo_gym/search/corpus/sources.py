"""The records of a corpus file, whatever it is packed in: each a dict, with the place where it stands.

What a file holds is known from its first bytes, not from its name: JSON lines, a JSON array, tab-separated
values with a header, or parquet. Only packing goes by the name: ``.gz`` and ``.zst`` are unpacked. The name
"-" is standard input.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

from igpo_gym.data.files import BROKEN, LINE_BYTES, WHOLE_BYTES, open_bytes, parse_json, require_file
from igpo_gym.errors import DataError, first_line
from igpo_gym.libraries import needs

_BATCH_ROWS = 1024
"""How many rows of a parquet file are read at a time."""

_PACKED = ((b"\x1f\x8b", "zcat", ".gz"), (b"\x28\xb5\x2f\xfd", "zstdcat", ".zst"))
"""What packed files begin with, what unpacks them, and how their names end."""

STDIN = "-"


class Place(NamedTuple):
    """Where a record stands.

    >>> str(Place("corpus.jsonl", "line", 3)), str(Place("corpus.parquet", "row", 7).error("no 'text'"))
    ('corpus.jsonl, line 3', "corpus.parquet: row 7: no 'text'")
    """

    file: str
    unit: str
    """What is counted: "line", "row" of a parquet file, "entry" of a JSON array."""
    number: int
    """From 1."""

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}"

    def error(self, problem: str) -> DataError:
        """The error that says what is wrong there."""
        if self.unit == "line":
            return DataError(self.file, problem, self.number)
        return DataError(self.file, f"{self.unit} {self.number}: {problem}")


Record: TypeAlias = dict[str, Any]
Records: TypeAlias = Iterator[tuple[Place, Record]]


@contextmanager
def opened(path: str | Path, columns: frozenset[str]) -> Iterator[tuple[str, Records]]:
    """What a file holds ("JSON lines", ...), and the stream of its records.

    Of a parquet file only ``columns`` are read. Raises DataError for a file that is missing, that is none of
    these, and, while it is read, for what is wrong in it.
    """
    name = "standard input" if str(path) == STDIN else str(path)
    file = cast(BufferedReader, sys.stdin.buffer if str(path) == STDIN else open_bytes(Path(path)))
    try:
        with _whole(name):
            head = file.peek(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
        if head.startswith(b"PAR1"):
            yield "parquet", _parquet(path, columns)
        else:
            kind, read = _kind(head, name)
            yield kind, read(file, name)
    finally:
        if file is not sys.stdin.buffer:
            file.close()


def _kind(head: bytes, name: str) -> tuple[str, Callable[[BufferedReader, str], Records]]:
    first = head.partition(b"\n")[0]
    if head.startswith(b"["):
        return "a JSON array", _array
    if head.startswith(b"{") or not head:
        return "JSON lines", _json_lines
    if b"\t" in first:
        return "tab-separated values", _table
    for magic, tool, ending in _PACKED:
        if head.startswith(magic):
            raise DataError(name, f"it is packed: unpack it ({tool} FILE), or let its name end in {ending}")
    raise DataError(
        name,
        "not a corpus: it begins neither with a JSON object or array, nor with the names of columns between "
        f"tabs, nor as parquet does, but with {first[:40].decode('utf-8', 'replace')!r}",
        1,
    )


@contextmanager
def _whole(name: str) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        packing = "zstandard" if name.endswith(".zst") else "gzip"
        raise DataError(name, f"not a whole {packing} file: {error}") from None


def _texts(file: BufferedReader, name: str) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1."""
    number = 0
    while True:
        number += 1
        with _whole(name):
            line = file.readline(LINE_BYTES + 1)
        if not line:
            return
        if len(line) > LINE_BYTES:
            raise DataError(name, f"a line of more than {LINE_BYTES >> 20} MiB", number)
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(name, f"not UTF-8: {error.reason}", number) from None


def _json_lines(file: BufferedReader, name: str) -> Records:
    for number, text in _texts(file, name):
        if text := text.strip():
            place = Place(name, "line", number)
            try:
                yield place, _object(parse_json(text), place)
            except (json.JSONDecodeError, RecursionError) as error:
                raise place.error(f"not JSON: {error}") from None


def _array(file: BufferedReader, name: str) -> Records:
    with _whole(name):
        content = file.read(WHOLE_BYTES + 1)
    if len(content) > WHOLE_BYTES:
        limit = f"more than {WHOLE_BYTES >> 20} MiB in one JSON array, which is read whole"
        raise DataError(name, f"{limit}: give it as JSON lines, an object a line")
    try:
        values = parse_json(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(name, f"not JSON: {error.msg}", error.lineno) from None
    except UnicodeDecodeError as error:
        raise DataError(name, f"not UTF-8: {error.reason}") from None
    except RecursionError as error:
        raise DataError(name, f"not JSON: {error}") from None
    del content
    for number, value in enumerate(values, start=1):
        place = Place(name, "entry", number)
        yield place, _object(value, place)


def _object(value: object, place: Place) -> Record:
    if not isinstance(value, dict):
        raise place.error(f"expected a JSON object, found {type(value).__name__}")
    return value


def _table(file: BufferedReader, name: str) -> Records:
    """Tab-separated values, quoted as in csv, under a header."""
    csv.field_size_limit(max(csv.field_size_limit(), LINE_BYTES))  # its own limit is 131,072 characters
    rows = csv.reader((text for _, text in _texts(file, name)), delimiter="\t")
    header: list[str] = []
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(name, f"not tab-separated values: {error}", line) from None
        if not header:
            header = [column.strip() for column in row]
        elif row:
            place = Place(name, "line", line)
            if len(row) != len(header):
                wanted = f"{len(header)} columns ({', '.join(header)})"
                raise place.error(f"{wanted} stand in line 1, and {len(row)} here")
            yield place, dict(zip(header, row, strict=True))


def _parquet(path: str | Path, columns: frozenset[str]) -> Records:
    if str(path) == STDIN:
        raise DataError("standard input", "parquet cannot be read from a pipe; name the file")
    require_file(Path(path))
    with needs("reading parquet files", "data", "pyarrow"):
        import pyarrow
        import pyarrow.parquet
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = [column for column in names if column in columns]
            if not wanted:
                raise DataError(path, f"no column of a corpus among those of the file: {', '.join(names)}")
            for batch in file.iter_batches(_BATCH_ROWS, columns=wanted):
                for record in batch.to_pylist():
                    number += 1
                    yield Place(str(path), "row", number), record
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(path, f"not a whole parquet file: {first_line(error)}") from None
