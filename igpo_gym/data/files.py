"""Reading files, plain or packed, within stated limits: lines with their numbers, JSON lines, or whole."""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, cast

from igpo_gym.errors import DataError
from igpo_gym.libraries import needs
from igpo_gym.storage import PACKED
from igpo_gym.text import well_formed

LINE_BYTES = 64 << 20
"""How long a line may be, unpacked. A longer one is refused before it is held whole."""

WHOLE_BYTES = 1 << 30
"""How long a file may be, unpacked, that can only be read whole, such as a JSON array."""

LITERAL_CHARACTERS = 100_000
"""How long a text may be that is tried as a literal: a longer one is none that somebody wrote."""

_PIECE = 1 << 20
"""How much of a file that is read whole is read at a time."""

_PACKED_PIECE = 1 << 10
"""How much of a packed file is unpacked at a time: at most 32 MiB come of it, in zstandard a block of 128 KiB
for every 4 bytes."""

_XZ_MEMORY = 1 << 28
"""How much memory an xz file may ask for: four times what ``xz -9`` writes for."""

BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a damaged or cut file raises that :func:`open_bytes` opened, whatever it was packed with."""


def require_file(path: Path) -> None:
    """Raise DataError unless ``path`` is a file."""
    if not path.is_file():
        other = "is a pipe or device; name a file" if path.exists() else "no such file"
        raise DataError(path, "is a folder, not a file" if path.is_dir() else other)


def packing(path: Path) -> str:
    """What a file is packed with, by how its name ends; empty for nothing.

    >>> packing(Path("wiki.jsonl.GZ")), packing(Path("wiki.jsonl"))
    ('gzip', '')
    """
    return PACKED.get(path.suffix.lower(), "")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, unpacked where its name ends in ``.gz``, ``.zst``, ``.bz2`` or ``.xz``.

    DataError where it is missing; MissingExtraError for ``.zst`` without the zstandard library. Reading what
    is damaged raises one of ``BROKEN``.
    """
    require_file(path)
    packed = packing(path)
    if packed == "gzip":
        return cast(IO[bytes], gzip.open(path))
    return io.BufferedReader(_Unpacked(path, packed)) if packed else path.open("rb")


def _unpacker(packed: str) -> tuple[Callable[[], Any], type[Exception]]:
    """What unpacks a frame, and what it raises for a damaged one."""
    if packed == "bzip2":
        return bz2.BZ2Decompressor, OSError
    if packed == "xz":
        return lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), lzma.LZMAError
    with needs("reading .zst files", "data", "zstandard"):
        import zstandard
    return zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError


class _Unpacked(io.RawIOBase):
    """The content of a packed file, frame after frame. A file that ends within a frame is an EOFError."""

    def __init__(self, path: Path, packed: str) -> None:
        self._new, self._error = _unpacker(packed)
        self._frame: Any = None
        self._packed, self._ready = path.open("rb"), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and (piece := self._packed.read(_PACKED_PIECE)):
            self._ready = memoryview(self._unpack(piece))
        if not self._ready and self._frame is not None:
            raise EOFError("it ends before its last frame does")
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _unpack(self, piece: bytes) -> bytes:
        found = []
        while piece:
            self._frame = self._frame or self._new()
            try:
                found.append(self._frame.decompress(piece))
            except self._error as problem:
                raise EOFError(str(problem)) from None
            piece = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        return b"".join(found)

    def close(self) -> None:
        self._packed.close()
        super().close()


def _source(path: Path, file: IO[bytes] | None) -> AbstractContextManager[IO[bytes]]:
    """What is read: ``file`` where it is open already, and left so; then ``path`` only names it in errors."""
    return open_bytes(path) if file is None else nullcontext(file)


def lines(path: Path, file: IO[bytes] | None = None) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, from 1, and with their ends.

    ``file`` is read where it is open already, such as standard input; ``path`` then is its name in errors.

    Raises DataError, with the line, for one of more than ``LINE_BYTES``, and for a file that is missing,
    damaged or cut off.
    """
    number = 0
    with _source(path, file) as source:
        try:
            while line := source.readline(LINE_BYTES + 1):
                number += 1
                if len(line) > LINE_BYTES:
                    raise DataError(path, f"a line of more than {LINE_BYTES >> 20} MiB", number)
                yield number, line
        except BROKEN as error:
            raise DataError(path, _damaged(path, error), number + 1) from None


def whole(path: Path, file: IO[bytes] | None = None) -> bytes:
    """All that a file holds. DataError where it is above ``WHOLE_BYTES``, missing, damaged or cut off.

    See :func:`lines` for ``file``.
    """
    pieces, size = [], 0
    with _source(path, file) as source:
        try:
            while piece := source.read(_PIECE):
                pieces.append(piece)
                size += len(piece)
                if size > WHOLE_BYTES:
                    limit = f"more than {WHOLE_BYTES >> 20} MiB, which cannot be read at once"
                    raise DataError(path, f"{limit}; give it as JSON lines, an object a line")
        except BROKEN as error:
            raise DataError(path, _damaged(path, error)) from None
    return b"".join(pieces)


def _damaged(path: Path, error: Exception) -> str:
    return f"not a whole {packing(path)} file: {error}"


_UNPACK = "it is packed: unpack it ({} FILE), or let its name end in {}"
_NO_TEXT = {
    b"\x1f\x8b": _UNPACK.format("zcat", ".gz"),
    b"\x28\xb5\x2f\xfd": _UNPACK.format("zstdcat", ".zst"),
    b"BZh": _UNPACK.format("bzcat", ".bz2"),
    b"\xfd7zXZ\0": _UNPACK.format("xzcat", ".xz"),
    b"PK\x03\x04": "it is a zip file: unzip it, and name a file that was in it",
    b"\xff\xfe": "it is UTF-16, as Excel and PowerShell write: save it as UTF-8",
    b"\xfe\xff": "it is UTF-16, as Excel and PowerShell write: save it as UTF-8",
}
"""What files begin with that are no text in UTF-8, and what to do about each."""


def no_text(head: bytes) -> str:
    """What a file is that begins so, where it is known to be no text in UTF-8, and what to do; else empty.

    >>> no_text("Gdańsk".encode()), no_text("Gdańsk".encode("utf-16"))
    ('', 'it is UTF-16, as Excel and PowerShell write: save it as UTF-8')
    """
    return next((told for beginning, told in _NO_TEXT.items() if head.startswith(beginning)), "")


def raised(problem: DataError) -> None:
    """Raise it."""
    raise problem from None


def json_lines(
    path: Path, unread: Callable[[DataError], None] = raised, file: IO[bytes] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON-lines file with their line numbers, from 1; blank lines are skipped.

    ``unread`` is told of a line that is not a JSON object in UTF-8; by default the first one is raised. See
    :func:`lines` for ``file``.

    Raises DataError, with the line, for a line that is too long, and for a file that is missing, damaged or
    cut off (see :func:`lines`).
    """
    for number, line in lines(path, file):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            record = _parse_object(text) if text else None
        except UnicodeDecodeError as error:
            unread(DataError(path, f"not UTF-8: {error.reason}", number))
        except ValueError as error:
            opened = number == 1 and text.startswith("{") and not text.endswith("}")
            hint = "; a record stands on one line, or all of them in [ ]" if opened else ""
            unread(DataError(path, f"{error}{hint}", number))
        else:
            if record is not None:
                yield number, record


def parse_json(text: str) -> Any:
    """The value of a JSON text, without the lone surrogates that its escapes may spell."""
    value = json.loads(text)
    return json.loads(well_formed(json.dumps(value, ensure_ascii=False))) if "\\u" in text else value


def literal(text: str) -> Any:
    """The value of a text that Python's syntax writes; None for any other, and one above
    ``LITERAL_CHARACTERS``.

    >>> literal("['Danzig', 'Gdańsk']"), literal("Danzig")
    (['Danzig', 'Gdańsk'], None)
    """
    if len(text) > LITERAL_CHARACTERS:
        return None
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        return ast.literal_eval(text)
    return None


def _parse_object(text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value


def field(record: Mapping[str, Any], *names: str) -> Any:
    """The first of ``names`` that the record has. Raises ValueError where it has none of them."""
    for name in names:
        if record.get(name) is not None:
            return record[name]
    there = ", ".join(str(name) for name, value in record.items() if value is not None) or "nothing"
    raise ValueError(f"no {' or '.join(map(repr, names))}; there is: {there:.200}")


def text_field(record: Mapping[str, Any], *names: str) -> str:
    """Like :func:`field`, for a string. Raises ValueError where it is something else."""
    value = field(record, *names)
    if not isinstance(value, str):
        raise ValueError(f"{names[0]!r} must be a string, found {shown(value)}")
    return value


def id_field(record: Mapping[str, Any], *names: str) -> str:
    """Like :func:`field`, for an id (:func:`id_text`). Raises ValueError for what is none."""
    value = field(record, *names)
    if not (id_ := id_text(value)):
        name = next(name for name in names if record.get(name) is not None)
        found = "an empty one" if id_ == "" else shown(value)
        raise ValueError(f"{name!r} must be a non-empty string or a whole number, found {found}")
    return id_


def id_text(value: Any) -> str | None:
    """An id as text: a text without the blanks around it, or a whole number; None for what is neither.

    >>> id_text(" 7 "), id_text(7), id_text(7.0), id_text(7.5), id_text(True)
    ('7', '7', '7', None, None)
    """
    if isinstance(value, float) and value.is_integer():  # pandas writes 7 as 7.0 where some have none
        value = int(value)
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else None


def shown(value: Any) -> str:
    """A value as an error shows it: its type alone, since it may be the gold answer, or hold it.

    >>> shown(1927), shown({"text": "Where?", "answer": "Danzig"})
    ('int', 'dict')
    """
    return type(value).__name__
