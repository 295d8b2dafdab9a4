"""Tables of 64-bit hashes in ascending order: how words, ids and titles are found without a dictionary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from igpo_gym.search.bm25.folder import Readable

_PER_BUCKET = 512


def digest(text: str) -> bytes:
    """The 8 bytes under which a text is known: of ten million texts, hardly ever do two share them."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def hashes(texts: Iterable[str]) -> npt.NDArray[np.uint64]:
    """The hash of each text.

    >>> hashes(["Danzig", "Danzig"]) == hashes(["Danzig", "Vistula"])
    array([ True, False])
    """
    return np.frombuffer(b"".join(map(digest, texts)), "<u8")


@dataclass(frozen=True)
class Keys:
    """Hashes in ascending order, and where each bucket of them begins: those of equal first bits.

    >>> table = np.sort(hashes(["Danzig", "Vistula"]))
    >>> keys = Keys(table, buckets(table))
    >>> [len(keys.find(text)) for text in ("Danzig", "Elbe")]
    [1, 0]
    """

    hashes: Readable
    buckets: npt.NDArray[np.int64]

    def find(self, text: str) -> range:
        """The places of the text's hash."""
        key = int.from_bytes(digest(text), "little")
        bucket = key >> 65 - (len(self.buckets) - 1).bit_length()
        first, last = self.buckets[bucket : bucket + 2].tolist()
        part = self.hashes[first:last]
        sought = np.uint64(key)
        place = int(part.searchsorted(sought))
        end = place
        while end < len(part) and part[end] == sought:
            end += 1
        return range(first + place, first + end)


def buckets(table: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Where each bucket begins in a table of hashes in ascending order, and where the last one ends."""
    bits = max(0, (len(table) // _PER_BUCKET).bit_length())
    edges = (
        np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits) if bits else np.empty(0, np.uint64)
    )
    return np.concatenate([[0], np.searchsorted(table, edges), [len(table)]]).astype(np.int64)


def by_hash(found: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[Any]]:
    """Hashes in ascending order, and the place that each had; equal ones stay in their order."""
    order = np.argsort(found, kind="stable")
    return found[order], order
