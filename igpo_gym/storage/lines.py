"""Files that grow by a line of JSON, and in which settings they differ from what is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def changed(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], fingerprints: Mapping[str, Any] | None = None
) -> str:
    """The names of the settings in which what is stored differs from what is wanted, for a message.

    Empty if they agree. ``fingerprints`` are those of ours that are not compared where the stored settings
    lack them, or hold an empty one: nobody knew then.

    >>> changed({"seed": 0, "top_k": 3}, {"seed": 1, "top_k": 3, "hash": "a"}, {"hash": "a"})
    'seed'
    """
    told = {name: value for name, value in theirs.items() if value != "" or name not in (fingerprints or {})}
    stored = {**(fingerprints or {}), **told}
    return ", ".join(name for name in {**ours, **stored} if stored.get(name) != ours.get(name))


def complete_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, but for a last one that a crash cut short.

    None of a file that is not there.
    """
    if path.exists():
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield number, line


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line of JSON to a file, in the place of one that a crash cut short."""
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(record).encode() + b"\n")
