"""The folder of a saved index: its arrays as plain files, checksums of all their blocks, and a manifest.

``manifest.json`` names kind, format, the number of passages, each file with its size, and hashes of
``checksums.bin`` and of itself. ``checksums.bin`` holds a CRC-32 for every 16 KiB of the arrays' files, in
the manifest's order. A small index is checked when it is loaded; of a large one each block is checked when it
is read first, so that loading reads no gigabytes and no damage passes for text.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from igpo_gym.errors import DataError
from igpo_gym.search.manifest import AGAIN, BM25, MANIFEST, check_sizes, digest, read_manifest, sealed

FORMAT = 2
"""The version of the folder's layout and of the words; an index of another one has to be built again."""

ARRAYS = {
    "words": "<u8",
    "word_buckets": "<i8",
    "starts": "<i8",
    "tops": "<f4",
    "numbers": "<i4",
    "scores": "<f4",
    "lines": "|u1",
    "line_starts": "<i8",
    "ids": "<u8",
    "id_buckets": "<i8",
    "id_numbers": "<i4",
    "titles": "<u8",
    "title_buckets": "<i8",
    "title_numbers": "<i4",
}
"""Each array and its type; :class:`igpo_gym.search.bm25.BM25Index` says what is in it."""

BLOCK = 1 << 14
"""How many bytes have one checksum."""

SMALL = 1 << 24
"""Indices of up to so many bytes are read and checked whole when they are loaded."""

_CHECKSUMS = "checksums.bin"


class Readable(Protocol):
    """An array that may lie on the disk: its length, and slices of it, whose ends have to be given."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> npt.NDArray[Any]: ...


class Checked:
    """A mapped array whose blocks are compared with their checksums when they are read first."""

    def __init__(self, path: Path, array: npt.NDArray[Any], sums: npt.NDArray[np.uint32]) -> None:
        self.array = array
        self._path = path
        self._bytes = array.view(np.uint8)
        self._sums = sums
        self._unread = bytearray(b"\1") * len(sums)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, part: slice) -> npt.NDArray[Any]:
        if part.start < part.stop:
            size = self.array.itemsize
            first, last = part.start * size // BLOCK, (part.stop * size - 1) // BLOCK + 1
            if self._unread.find(1, first, last) >= 0:
                self._check(first, last)
        return self.array[part]

    def _check(self, first: int, last: int) -> None:
        for block in range(first, last):
            if not self._unread[block]:
                continue
            if zlib.crc32(self._bytes[block * BLOCK : (block + 1) * BLOCK].data) != self._sums[block]:
                place = f"the index is damaged at byte {block * BLOCK:,} and on"
                raise DataError(self._path, f"{place}; {AGAIN}")
            self._unread[block] = 0


class FolderWriter:
    """Writes arrays piece by piece to a folder, and sums up their blocks meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {name: _Summed(folder / f"{name}.bin") for name in ARRAYS}

    def append(self, name: str, piece: npt.NDArray[Any]) -> None:
        """Put a piece behind those that this array has so far."""
        self._files[name].write(np.ascontiguousarray(piece, ARRAYS[name]).view(np.uint8).data)

    def written(self, name: str) -> npt.NDArray[Any]:
        """What was appended so far, mapped."""
        self._files[name].file.flush()
        return _mapped(self._folder / f"{name}.bin", ARRAYS[name])

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.file.close()

    def finish(self, passages: int) -> None:
        """Close the files and write what load compares them with."""
        self.close()
        sums = b"".join(file.sums() for file in self._files.values())
        (self._folder / _CHECKSUMS).write_bytes(sums)
        manifest = _manifest(passages, {name: file.size for name, file in self._files.items()}, sums)
        (self._folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")


class _Summed:
    """A file that is written in one go, with the checksums of its blocks."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")
        self.size = 0
        self._sums: list[int] = []
        self._running = 0

    def write(self, data: memoryview) -> None:
        self.file.write(data)
        at = 0
        while at < len(data):
            piece = data[at : at + BLOCK - self.size % BLOCK]
            self._running = zlib.crc32(piece, self._running)
            at += len(piece)
            self.size += len(piece)
            if self.size % BLOCK == 0:
                self._sums.append(self._running)
                self._running = 0

    def sums(self) -> bytes:
        unfinished = [self._running] if self.size % BLOCK else []
        return np.asarray(self._sums + unfinished, "<u4").tobytes()


def checksum(passages: int, arrays: Mapping[str, Readable]) -> str:
    """The checksum that the manifest of a saved index has, of one in memory."""
    whole = [np.ascontiguousarray(arrays[name][0 : len(arrays[name])], ARRAYS[name]) for name in ARRAYS]
    pieces = [array.view(np.uint8).data for array in whole]
    sums = [zlib.crc32(each[at : at + BLOCK]) for each in pieces for at in range(0, len(each), BLOCK)]
    sizes = dict(zip(ARRAYS, map(len, pieces), strict=True))
    return str(_manifest(passages, sizes, np.asarray(sums, "<u4").tobytes())["checksum"])


def _manifest(passages: int, sizes: Mapping[str, int], sums: bytes) -> dict[str, Any]:
    return sealed(
        {
            "kind": BM25,
            "format": FORMAT,
            "passages": passages,
            "files": dict(sizes),
            "checksums": digest(sums),
        }
    )


def load_arrays(folder: Path) -> tuple[dict[str, Readable], str]:
    """The arrays of a saved index, mapped, and the checksum of its manifest.

    Raises DataError for what is no index, or a damaged one.
    """
    try:
        return _load_arrays(folder)
    except DataError:
        return _load_arrays(folder)  # another index may have taken its place meanwhile


def _load_arrays(folder: Path) -> tuple[dict[str, Readable], str]:
    manifest = read_manifest(folder, BM25, FORMAT)
    sizes: dict[str, int] = manifest["files"]
    check_sizes(folder, {f"{name}.bin": size for name, size in sizes.items()})
    sums = _checksums(folder, manifest)
    arrays: dict[str, Readable] = {}
    small = sum(sizes.values()) <= SMALL
    try:
        for name, dtype in ARRAYS.items():
            path = folder / f"{name}.bin"
            array = np.frombuffer(path.read_bytes(), dtype) if small else _mapped(path, dtype)
            checked = Checked(path, array, sums[name])
            whole = small or name.endswith("buckets")
            arrays[name] = checked[0 : len(checked)] if whole else checked
    except (ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(folder, f"the index is damaged: {error}; {AGAIN}") from None
    return arrays, manifest["checksum"]


def _checksums(folder: Path, manifest: Mapping[str, Any]) -> dict[str, npt.NDArray[np.uint32]]:
    path = folder / _CHECKSUMS
    data = path.read_bytes() if path.is_file() else b""
    if digest(data) != manifest["checksums"]:
        raise DataError(path, f"the index is damaged: not the checksums that were written; {AGAIN}")
    counts = [-(-size // BLOCK) for size in manifest["files"].values()]
    parts = np.split(np.frombuffer(data, "<u4"), np.cumsum(counts)[:-1])
    return dict(zip(manifest["files"], parts, strict=True))


def _mapped(path: Path, dtype: str) -> npt.NDArray[Any]:
    if not path.stat().st_size:
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="r"))
