"""JSON lines about another file's lines, in its order, which a killed run goes on with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from igpo_gym.agents.rollouts.records import json_line, what_is_wrong
from igpo_gym.errors import DataError
from igpo_gym.storage import changed, full_disk_named, keep_permissions, let_go, owned, resolved

MADE = "relabeled"
"""The field of a line that says how it was made; what stands in a record under that name is replaced."""


def part_of(target: Path) -> Path:
    """Where a file is written until it is whole."""
    return target.with_name(f"{target.name}.part")


def whole_lines(target: Path, settings: Mapping[str, Any], together: int = 1) -> int:
    """How many lines a killed run has left for :class:`ResumedFile` to go on behind; nothing is written.

    Raises DataError for what a run with other settings left.
    """
    part = part_of(resolved(target))
    if not part.is_file():
        return 0
    with part.open("rb") as file:
        return sum(1 for _ in _whole(file, part, settings)) // together * together


def _whole(file: BinaryIO, part: Path, settings: Mapping[str, Any]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The whole lines of a file that was begun, with what they hold."""
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            return  # cut short by a crash
        try:
            record = json.loads(line.decode())
            names = changed(dict(record[MADE]), settings)
        except (KeyError, RecursionError, TypeError, ValueError) as problem:
            raise DataError(
                part, f"not what a run left here ({what_is_wrong(problem)}); remove the file", number
            ) from None
        if names:
            raise DataError(
                part, f"left by a run with other settings ({names}); remove it, or choose another file"
            )
        yield line, record


class ResumedFile:
    """A file that is written line by line beside its place (``NAME.part``), and takes it when all is done.

    Opened again with the same settings it goes on behind the lines that are whole: ``done`` says how many.
    Where lines are made ``together``, so many at a time, it goes on behind whole groups of them, so that the
    groups are those of a run that was never stopped. ``seen`` is told of each line that stays. What was at
    the place stays there until then, and its permissions are kept. A device or pipe is written as it is.

    Raises BlockingIOError when another run is writing it, and DataError for what a run with other settings
    left.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "priced.jsonl")
    >>> with ResumedFile(path, {"reward": "f1"}) as file:
    ...     file.write({"return": 1.0})
    >>> path.read_text()
    '{"relabeled": {"reward": "f1"}, "return": 1.0}\\n'
    >>> folder.cleanup()
    """

    def __init__(
        self,
        target: Path,
        settings: Mapping[str, Any],
        seen: Callable[[dict[str, Any]], None] = lambda line: None,
        together: int = 1,
    ) -> None:
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a folder; name a file")
        self.done = 0
        self._settings = dict(settings)
        self._target = resolved(target)
        self._in_place = target.exists() and not target.is_file()
        self._part = self._target if self._in_place else part_of(self._target)
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO
        if self._in_place:
            self._file = self._part.open("wb")
            return
        self._file = owned(lambda: self._part.open("a+b"), self._part, self._target)
        try:
            keep_permissions(self._target, self._part)
            self._resume(seen, together)
        except BaseException:
            self._file.close()
            raise

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line, and do not return before it is with the operating system."""
        with full_disk_named(self._target):
            self._file.write(json_line({MADE: self._settings, **line}).encode())
            self._file.flush()
        self.done += 1

    def __enter__(self) -> ResumedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.leave()
            return
        with full_disk_named(self._target):  # what the disk did not take is written again on closing
            if not self._in_place:
                let_go(self._file)
                self._part.replace(self._target)  # the lock is held until it has its name
            self._file.close()

    def leave(self) -> None:
        """Close it as it stands, to go on later."""
        with full_disk_named(self._target):
            if not self._in_place and self.done == 0:
                let_go(self._file)
                self._part.unlink()
            self._file.close()

    def _resume(self, seen: Callable[[dict[str, Any]], None], together: int) -> None:
        self._file.seek(0)
        end = read = 0
        group: list[dict[str, Any]] = []
        for number, (line, record) in enumerate(_whole(self._file, self._part, self._settings), 1):
            read += len(line)
            group.append(record)
            if len(group) == together:
                for each in group:
                    seen(each)
                self.done, end, group = number, read, []
        self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)
