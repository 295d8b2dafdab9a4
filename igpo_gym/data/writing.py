"""Writing rows: as lines of JSON, and as parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from igpo_gym.libraries import needs
from igpo_gym.storage import written_file


def write_lines(rows: Iterable[Mapping[str, Any]], file: IO[str]) -> int:
    """Write rows as lines of JSON; returns how many.

    >>> write_lines([{"id": "1", "question": "Gdzie leży Gdańsk?"}], file := io.StringIO()), file.getvalue()
    (1, '{"id": "1", "question": "Gdzie leży Gdańsk?"}\\n')
    """
    written = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        written += 1
    return written


def write_parquet(rows: Sequence[Mapping[str, Any]], out: Path) -> int:
    """Write rows as a parquet file, whole or not at all; returns how many."""
    with needs("writing parquet files", "data", "pyarrow"):
        import pyarrow
        from pyarrow import parquet
    with written_file(out) as file:
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), cast(io.TextIOWrapper, file).buffer)
    return len(rows)
