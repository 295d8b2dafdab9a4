"""Reading passages once into blocks that are sorted by word, and turning them into the arrays of an index.

A block holds some millions of words, so that memory grows by a few bytes a passage alone. The blocks lie in
memory or in a folder, and :mod:`igpo_gym.search.bm25.merging` joins them.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, DuplicateIdError
from igpo_gym.search.bm25.folder import ARRAYS
from igpo_gym.search.bm25.keys import buckets, by_hash, digest, hashes
from igpo_gym.search.interface import check_texts
from igpo_gym.words import STOP_WORDS, analyzed

BLOCK_WORDS = 1 << 22
"""How many words are read before they are sorted."""

_LINE_BYTES = 1 << 26
"""How many bytes of passages are read before they are written; a block may be short of words."""


class Sink(Protocol):
    """Takes the arrays of an index, piece by piece."""

    def append(self, name: str, piece: npt.NDArray[Any]) -> None:
        """Put a piece behind those that this array has so far."""

    def written(self, name: str) -> npt.NDArray[Any]:
        """The pieces of this array so far, as one."""
        ...


class Memory:
    """Keeps arrays in memory."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in ARRAYS}

    def append(self, name: str, piece: npt.NDArray[Any]) -> None:
        """Put a piece behind those that this array has so far."""
        self._pieces[name].append(np.asarray(piece, ARRAYS[name]))

    def written(self, name: str) -> npt.NDArray[Any]:
        """The pieces of this array so far, as one."""
        pieces = self._pieces[name]
        if len(pieces) != 1:
            pieces[:] = [np.concatenate(pieces) if pieces else np.empty(0, ARRAYS[name])]
        return pieces[0]


Keep = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""Puts an array away, and gives it back as one that may lie elsewhere."""


def scratch(folder: Path) -> Keep:
    """Arrays are put into files of that folder, and mapped."""
    count = 0

    def keep(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        nonlocal count
        count += 1
        path = folder / f"{count}.bin"
        with path.open("wb") as file:
            file.write(values.view(np.uint8).data)
        return np.asarray(np.memmap(path, values.dtype, mode="r")) if len(values) else values

    return keep


@dataclass(frozen=True)
class Block:
    """The words of successive passages, by their hashes, and each word's passages in their order."""

    hashes: npt.NDArray[np.uint64]
    """(words,): ascending."""
    counts: npt.NDArray[np.int32]
    """(words,): how many passages of the block have the word."""
    numbers: npt.NDArray[np.int32]
    """(postings,): the passages' numbers, word by word."""
    times: npt.NDArray[Any]
    """(postings,): how often the passage has the word."""


class _Numbering(dict[str, int]):
    """Gives every new word the next number. The stop words have the first ones."""

    def __init__(self) -> None:
        super().__init__((word, number) for number, word in enumerate(STOP_WORDS))

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


class Reader:
    """Takes passages one by one; what it keeps of them goes to a sink and into blocks."""

    def __init__(self, sink: Sink, keep: Keep) -> None:
        self.blocks: list[Block] = []
        self.passages = 0
        self._sink = sink
        self._keep = keep
        self._bytes = 0
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._ids: list[npt.NDArray[np.uint64]] = []
        self._titles: list[npt.NDArray[np.uint64]] = []
        self._titled: list[npt.NDArray[np.int32]] = []
        self._begin()

    def _begin(self) -> None:
        self._first = self.passages
        self._numbering = _Numbering()
        self._words, self._sizes, self._characters = array("i"), array("i"), array("i")
        self._lines, self._ends = bytearray(), array("q")
        self._id_hashes, self._title_hashes, self._title_numbers = bytearray(), bytearray(), array("i")

    def add(self, passage: Passage) -> None:
        """Take the next passage. TypeError for one whose id, title or text is no text."""
        check_texts(passage)
        text = f"{passage.title}\n{passage.text}"
        self._lines += json.dumps([passage.id, passage.title, passage.text]).encode() + b"\n"
        self._ends.append(self._bytes + len(self._lines))
        self._id_hashes += digest(passage.id)
        if passage.title:
            self._title_hashes += digest(passage.title)
            self._title_numbers.append(self.passages)
        before = len(self._words)
        found, alone = analyzed(text)
        self._words.extend(map(self._numbering.__getitem__, found))
        self._words.extend(map(self._numbering.__getitem__, alone))
        self._characters.append(len(alone))
        self._sizes.append(len(self._words) - before)
        self.passages += 1
        if len(self._words) >= BLOCK_WORDS or len(self._lines) >= _LINE_BYTES:
            self._end()

    def _end(self) -> None:
        self._bytes += len(self._lines)
        self._sink.append("lines", np.frombuffer(self._lines, np.uint8))
        self._sink.append("line_starts", np.frombuffer(self._ends, np.int64))
        self._ids.append(self._keep(np.frombuffer(self._id_hashes, np.uint64)))
        self._titles.append(self._keep(np.frombuffer(self._title_hashes, np.uint64)))
        self._titled.append(self._keep(np.frombuffer(self._title_numbers, np.int32)))
        self._sort()
        self._begin()

    def _sort(self) -> None:
        """The block's words become postings: sorted by word, then passage, each pair once with its count."""
        found = np.frombuffer(self._words, np.int32)
        sizes = np.frombuffer(self._sizes, np.int32)
        counted = found >= len(STOP_WORDS)
        so_far = np.concatenate([[0], np.cumsum(counted)])
        ends = np.cumsum(sizes)
        lengths = so_far[ends] - so_far[ends - sizes] - np.frombuffer(self._characters, np.int32)
        self._lengths.append(lengths.astype(np.int32))
        listed = iter(self._numbering)
        for _ in STOP_WORDS:
            next(listed)
        known, ranks = np.unique(hashes(listed), return_inverse=True)
        numbers = np.repeat(np.arange(self._first, self.passages), sizes)[counted]
        pairs = ranks[found[counted] - len(STOP_WORDS)] << 32 | numbers
        if not len(pairs):
            return
        pairs.sort()
        firsts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]]))
        times = np.diff(firsts, append=len(pairs))
        pairs = pairs[firsts]
        counts = np.bincount(pairs >> 32, minlength=len(known)).astype(np.int32)
        times = times.astype(np.min_scalar_type(int(times.max())))
        numbers = (pairs & 0xFFFFFFFF).astype(np.int32)
        self.blocks.append(Block(*(self._keep(part) for part in (known, counts, numbers, times))))

    def finish(self) -> npt.NDArray[np.int32]:
        """Write the tables of ids and titles, and return the lengths of all passages in words.

        Raises ValueError where there are no passages or no words, DuplicateIdError for an id of two passages.
        """
        if self._sizes:
            self._end()
        if not self.passages:
            raise ValueError("there are no passages to index")
        if not self.blocks:
            raise DataError("the passages", "they hold no words to search for")
        table, numbers = by_hash(np.concatenate(self._ids))
        self._refuse_duplicates(table, numbers)
        self._write("id", table, numbers)
        table, places = by_hash(np.concatenate(self._titles))
        self._write("title", table, np.concatenate(self._titled)[places])
        return np.concatenate(self._lengths)

    def _write(self, what: str, table: npt.NDArray[np.uint64], numbers: npt.NDArray[Any]) -> None:
        self._sink.append(f"{what}s", table)
        self._sink.append(f"{what}_buckets", buckets(table))
        self._sink.append(f"{what}_numbers", numbers)

    def _refuse_duplicates(self, table: npt.NDArray[np.uint64], numbers: npt.NDArray[Any]) -> None:
        equal = np.flatnonzero(table[1:] == table[:-1])
        if not len(equal):
            return
        lines, starts = self._sink.written("lines"), self._sink.written("line_starts")
        seen: dict[str, int] = {}
        for number in np.unique(numbers[np.concatenate([equal, equal + 1])]).tolist():
            line = lines[starts[number] : starts[number + 1]]
            id_ = json.loads(line.tobytes())[0]
            if id_ in seen:
                raise DuplicateIdError(id_, seen[id_], number)
            seen[id_] = number


def read(passages: Iterable[Passage], sink: Sink, keep: Keep) -> tuple[list[Block], npt.NDArray[np.int32]]:
    """Read a stream of passages: the blocks of its words, and the length of every passage in words."""
    sink.append("line_starts", np.zeros(1, np.int64))
    reader = Reader(sink, keep)
    for passage in passages:
        reader.add(passage)
    lengths = reader.finish()
    return reader.blocks, lengths
