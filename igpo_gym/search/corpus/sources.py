"""The records of a corpus file, and what they are packed in: what is no corpus at all is refused here.

What a file holds is known from its first bytes: JSON lines, a JSON array, tab-separated values with a header,
or parquet; what is named ``.json``, ``.jsonl`` or ``.parquet`` and is not is refused. Packing goes by the
name (:data:`igpo_gym.storage.PACKED`). The name "-" is standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, cast

from igpo_gym.data.rows import Kind, Row, head_of, kind_of, rows
from igpo_gym.errors import DataError

STDIN = "-"


class Source(NamedTuple):
    """A file of a corpus."""

    path: Path
    """Its name for messages too: that of standard input is no path."""
    kind: Kind
    rows: Iterator[Row]
    """Its records, as a stream."""


def opened(path: str | Path, columns: Collection[str]) -> Source:
    """A file of which ``columns`` are wanted (:func:`igpo_gym.data.rows.rows`).

    Raises DataError for a file that is missing, that is none of these, and, while it is read, for what is
    wrong in it.
    """
    file = None
    if str(path) == STDIN:
        path, file = "standard input", cast(BufferedReader, sys.stdin.buffer)
    path = Path(path)
    kind = kind_of(path, file=file)
    _check(head_of(path, 4096, file), path)
    return Source(path, kind, rows(path, columns=columns, file=file))


def _check(head: bytes, path: Path) -> None:
    """Raise DataError for the beginning of what is no corpus."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    first = head.partition(b"\n")[0]
    if head and not head.startswith((b"{", b"[", b"PAR1")) and b"\t" not in first:
        raise DataError(
            path,
            "not a corpus: it begins neither with a JSON object or array, nor with the names of columns "
            f"between tabs, nor as parquet does, but with {first[:40].decode('utf-8', 'replace')!r}",
            1,
        )
