"""Passages in a folder: written as a stream, mapped into memory, found by number, by id and by title.

The files: ``passages.jsonl`` has a line ``[id, title, text]`` for each passage; ``lines.npy`` says where each
begins, and ``sums.npy`` has its CRC-32, which is checked whenever it is read. ``ids.npy`` and ``titles.npy``
hold pairs (hash, number of the passage), sorted: nothing has to be in memory to find a passage by its id.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> with PassageWriter(folder) as writer:
...     for passage in (Passage("a", "Danzig", "A port."), Passage("b", "Danzig", "Now Gdańsk.")):
...         writer.add(passage)
>>> stored = StoredPassages(folder)
>>> len(stored), stored[1].text, [passage.text for passage in stored.documents(["b"])[0]]
(2, 'Now Gdańsk.', ['A port.', 'Now Gdańsk.'])
"""

from __future__ import annotations

import hashlib
import json
import zlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, DuplicateIdError
from igpo_gym.search.interface import check_texts

LINES = "passages.jsonl"
ARRAYS = ("lines", "sums", "ids", "titles")
"""The names of the arrays' files, without ``.npy``."""

BYTES_EACH = 60
"""About how much memory the writer needs for a passage: its offset, its checksum, two hashes, and sorting."""

_PAIR = np.dtype([("hash", "<u8"), ("number", "<i8")])


class PassageWriter:
    """Writes passages to a folder one by one; when its block ends well, what finds them is written too.

    Leaving the block raises DuplicateIdError where two passages have one id, ValueError where there are none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = (folder / LINES).open("wb")
        self._starts, self._sums = array("q", [0]), array("I")
        self._ids, self._titles = array("Q"), array("Q")

    def add(self, passage: Passage) -> None:
        """Append a passage. TypeError for one whose id, title or text is no text."""
        check_texts(passage)
        line = json.dumps([passage.id, passage.title, passage.text]).encode() + b"\n"
        self._file.write(line)
        self._starts.append(self._starts[-1] + len(line))
        self._sums.append(zlib.crc32(line))
        self._ids.append(_hash(passage.id))
        self._titles.append(_hash(passage.title))

    def __len__(self) -> int:
        return len(self._sums)

    def __enter__(self) -> PassageWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is not None:
            return
        if not self:
            raise ValueError("there are no passages to index")
        np.save(self.folder / "lines.npy", np.frombuffer(self._starts, np.int64))
        np.save(self.folder / "sums.npy", np.frombuffer(self._sums, np.uint32))
        for name, hashes in (("ids", self._ids), ("titles", self._titles)):
            np.save(self.folder / f"{name}.npy", _sorted(np.frombuffer(hashes, np.uint64)))
        StoredPassages(self.folder).check_ids()


class StoredPassages(Sequence[Passage]):
    """The passages of a folder, read from the disk one by one. Read-only and thread-safe.

    Raises DataError where files are missing or do not belong together, and on reading a line that is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._lines = np.memmap(folder / LINES, np.uint8, mode="r")
            self._starts, self._sums, self._ids, self._titles = (
                np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS
            )
        except (OSError, ValueError, EOFError) as error:
            raise DataError(folder, f"the index is damaged: {error}") from None
        count = len(self._sums)
        if (
            not len(self._starts) - 1 == len(self._ids) == len(self._titles) == count
            or self._starts[-1] != len(self._lines)
            or not self._ids.dtype == self._titles.dtype == _PAIR
        ):
            raise DataError(folder, "the index is damaged: its files do not belong together")

    def __len__(self) -> int:
        return len(self._sums)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self)} passages, and no number {number}")
        number %= len(self)
        line = self._lines[self._starts[number] : self._starts[number + 1]].tobytes()
        if zlib.crc32(line) != self._sums[number]:
            raise DataError(self.folder / LINES, "the index is damaged; build it again", number + 1)
        return Passage(*json.loads(line))

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        """For each passage id its document: all passages of its title in corpus order, or the passage alone
        where it has no title; nothing for an id that is not there."""
        return [self._document(id_) for id_ in ids]

    def _document(self, id_: str) -> tuple[Passage, ...]:
        found = [each for each in self._hashed(self._ids, id_) if each.id == id_]
        if not found or not found[0].title:
            return tuple(found)
        title = found[0].title
        return tuple(each for each in self._hashed(self._titles, title) if each.title == title)

    def _hashed(self, pairs: npt.NDArray[Any], text: str) -> list[Passage]:
        """The passages whose id or title has the hash of that text, in order."""
        key = np.uint64(_hash(text))
        first, last = (int(np.searchsorted(pairs["hash"], key, side)) for side in ("left", "right"))
        return [self[int(number)] for number in pairs["number"][first:last]]

    def check_ids(self) -> None:
        """Raise DuplicateIdError where two passages have one id: the earliest second one is named."""
        hashes = self._ids["hash"]
        again = np.flatnonzero(hashes[1:] == hashes[:-1])
        found: list[DuplicateIdError] = []
        for key in np.unique(hashes[again]):
            first: dict[str, int] = {}
            span = slice(*(int(np.searchsorted(hashes, key, side)) for side in ("left", "right")))
            for number in map(int, self._ids["number"][span]):
                before = first.setdefault(self[number].id, number)
                if before != number:
                    found.append(DuplicateIdError(self[number].id, before, number))
        if found:
            raise min(found, key=lambda each: each.second)


def _sorted(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    order = np.argsort(hashes, kind="stable")  # equal ones stay in corpus order
    pairs = np.empty(len(hashes), _PAIR)
    pairs["hash"], pairs["number"] = hashes[order], order
    return pairs


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")
