"""Reading files: JSON lines with their line numbers."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from igpo_gym.errors import DataError
from igpo_gym.text import well_formed

BROKEN_GZIP = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a damaged or cut gzip file raises."""


def require_file(path: Path) -> None:
    """Raise DataError unless ``path`` is a file."""
    if not path.is_file():
        raise DataError(path, "is a folder, not a file" if path.is_dir() else "no such file")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip if its name ends in ``.gz``. DataError if it is missing."""
    require_file(path)
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON-lines file with their line numbers, from 1; blank lines are skipped.

    A name that ends in ``.gz`` is read as gzip. Raises DataError, with the line, for anything that is not a
    JSON object in UTF-8, and for a file that is missing or cut off.
    """
    number = 0
    with open_bytes(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                if text := line.decode("utf-8-sig" if number == 1 else "utf-8").strip():
                    yield number, _parse_object(text)
        except UnicodeDecodeError as error:
            raise DataError(path, f"not UTF-8: {error.reason}", number) from None
        except ValueError as error:
            raise DataError(path, str(error), number) from None
        except BROKEN_GZIP as error:
            raise DataError(path, f"not a whole gzip file: {error}", number + 1) from None


def parse_json(text: str) -> Any:
    """The value of a JSON text, without the lone surrogates that its escapes may spell."""
    value = json.loads(text)
    return json.loads(well_formed(json.dumps(value, ensure_ascii=False))) if "\\u" in text else value


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
    raise ValueError(f"no {' or '.join(map(repr, names))}")


def text_field(record: Mapping[str, Any], *names: str) -> str:
    """Like :func:`field`, for a string. Raises ValueError where it is something else."""
    value = field(record, *names)
    if not isinstance(value, str):
        raise ValueError(f"{names[0]!r} must be a string, found {value!r:.60}")
    return value


def id_field(record: Mapping[str, Any], *names: str) -> str:
    """Like :func:`field`, for an id: a non-empty string, or a whole number, which becomes one."""
    value = field(record, *names)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f"{names[0]!r} must be a non-empty string or a whole number, found {value!r:.60}")
    return str(value)
