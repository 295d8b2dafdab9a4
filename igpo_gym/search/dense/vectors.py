"""Nearest vectors by inner product: exact, or by a FAISS index, from files that are mapped into memory.

Three kinds, chosen by the number of vectors unless one is named:

- ``flat``, up to :data:`FLAT_UP_TO`: each search compares with every vector. Exact.
- ``hnsw``, up to :data:`HNSW_UP_TO`: a graph of neighbors (32 links a vector) beside the vectors. Fast, and
  the largest in memory: what a search touches is all over the file.
- ``ivfpq``, above: lists of codes of at most 64 bytes a vector. A search reads a few lists, and then compares
  the candidates, :data:`REFINED` times as many as are wanted, with their exact vectors, which stay on disk.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from igpo_gym.errors import DataError, SpecError, choose
from igpo_gym.libraries import needs

FloatArray: TypeAlias = npt.NDArray[np.float32]

FLAT_UP_TO = 200_000
HNSW_UP_TO = 1_000_000
REFINED = 8
"""How many candidates of an ``ivfpq`` index are compared exactly, for each that is wanted."""

FEWEST_IVFPQ = 1024
"""The fewest vectors that an ``ivfpq`` index is made of."""

EF = 128
"""How many candidates a search of an ``hnsw`` index follows, unless told."""

NPROBE = 64
"""How many lists a search of an ``ivfpq`` index reads, unless told."""

VECTORS, INDEX = "vectors.npy", "index.faiss"
_LINKS = 32
_BLOCK = 1 << 16
_TRAINING = 64
"""How many vectors are learned from for each list."""


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What an index will be, and what it will need.

    >>> IndexPlan.of("auto", 21_015_324, 384)
    IndexPlan(kind='ivfpq', count=21015324, dimension=384)
    >>> IndexPlan.of("auto", 21_015_324, 384).needs
    '21,015,324 vectors of 384 numbers, ivfpq: ... GB on disk; about ... GB of memory to build, ... to search'
    """

    kind: str
    count: int
    dimension: int

    @classmethod
    def of(cls, kind: str, count: int, dimension: int) -> IndexPlan:
        """The plan for so many vectors; "auto" chooses by their number. SpecError for what cannot be made."""
        if kind == "auto":
            kind = "flat" if count <= FLAT_UP_TO else "hnsw" if count <= HNSW_UP_TO else "ivfpq"
        choose({"flat": 0, "hnsw": 0, "ivfpq": 0}, kind, "kind of vector index")
        if kind == "ivfpq" and count < FEWEST_IVFPQ:
            raise SpecError(f"an ivfpq index needs {FEWEST_IVFPQ:,} passages, found {count:,}; take flat")
        return cls(kind, count, dimension)

    @property
    def lists(self) -> int:
        """Of an ``ivfpq`` index: the power of two next to 4 sqrt(count), with at least 32 vectors a list."""
        near = 1 << round(math.log2(4 * math.sqrt(self.count)))
        return min(near, 1 << (max(1, self.count // 32).bit_length() - 1))

    @property
    def code_bytes(self) -> int:
        """Of an ``ivfpq`` index: the bytes of a code, each of which stands for 4 numbers or more."""
        most = max(1, min(64, self.dimension // 4))
        return next(size for size in range(most, 0, -1) if self.dimension % size == 0)

    @property
    def raw(self) -> int:
        """Bytes of the vectors."""
        return 4 * self.count * self.dimension

    @property
    def disk(self) -> int:
        """Bytes of the files."""
        links = self.count * (8 * _LINKS + 16) if self.kind == "hnsw" else 0
        return self.raw + links + (self.search if self.kind == "ivfpq" else 0)

    @property
    def build(self) -> int:
        """Bytes of memory that building needs, beside the model."""
        learned = min(self.count, max(self.lists, 256) * _TRAINING)
        most = {"flat": 0, "hnsw": self.disk, "ivfpq": self.search + 4 * learned * self.dimension}
        return most[self.kind] + 4 * min(_BLOCK, self.count) * self.dimension

    @property
    def search(self) -> int:
        """Bytes that searches read again and again: as much memory keeps them from waiting for the disk."""
        coded = self.count * (self.code_bytes + 8) + 4 * self.lists * self.dimension
        return coded if self.kind == "ivfpq" else self.disk

    @property
    def needs(self) -> str:
        """A line that says it."""
        return (
            f"{self.count:,} vectors of {self.dimension} numbers, {self.kind}: {_size(self.disk)} on disk; "
            f"about {_size(self.build)} of memory to build, {_size(self.search)} to search"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def faiss() -> Any:
    """The library. Raises MissingExtraError where it is not installed."""
    with needs("dense search", "dense", "faiss"):
        import faiss
    return faiss


def new_vectors(folder: Path, plan: IndexPlan) -> FloatArray:
    """The vectors' file, to be filled row by row. OSError where the disk has no room for it."""
    path, shape = folder / VECTORS, (plan.count, plan.dimension)
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    if hasattr(os, "posix_fallocate"):  # writing to a mapped file on a full disk would kill the process
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return vectors


def make_index(folder: Path, plan: IndexPlan) -> None:
    """Make the index of the vectors in a folder; an ``hnsw`` index has them in it, and their file goes."""
    if plan.kind == "flat":
        return
    lib = faiss()
    vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    if plan.kind == "hnsw":
        index = lib.index_factory(plan.dimension, f"HNSW{_LINKS},Flat", lib.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF
    else:
        form = f"IVF{plan.lists},PQ{plan.code_bytes}"
        index = lib.index_factory(plan.dimension, form, lib.METRIC_INNER_PRODUCT)
        index.do_polysemous_training = False  # half a minute for what no search here uses
        index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # no warnings on stderr
        step = max(1, plan.count // (max(plan.lists, 256) * _TRAINING))
        index.train(np.ascontiguousarray(vectors[::step]))
    for start in range(0, plan.count, _BLOCK):
        index.add(np.ascontiguousarray(vectors[start : start + _BLOCK]))
    try:
        lib.write_index(index, str(folder / INDEX))
    except RuntimeError as error:
        raise OSError(f"the index cannot be written: {str(error).strip().rpartition(chr(10))[2]}") from None
    if plan.kind == "hnsw":
        del vectors
        (folder / VECTORS).unlink()


def effort(kind: str, ef: int | None = None, nprobe: int | None = None) -> dict[str, int]:
    """How much a search of that kind looks at, by option. SpecError for an option of another kind.

    >>> effort("hnsw", ef=200), effort("ivfpq"), effort("flat")
    ({'ef': 200}, {'nprobe': 64}, {})
    """
    options = {}
    for name, value, own, usual in (("ef", ef, "hnsw", EF), ("nprobe", nprobe, "ivfpq", NPROBE)):
        if value is not None and (value < 1 or kind != own):
            fits = f"at least 1, and for an {own} index"
            raise SpecError(f"{name} is {fits}; found {value} for one that is {kind}")
        if kind == own:
            options[name] = value or usual
    return options


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of a folder, ready to be searched. Thread-safe.

    >>> import tempfile
    >>> folder, plan = Path(tempfile.mkdtemp()), IndexPlan.of("flat", 3, 2)
    >>> new_vectors(folder, plan)[:] = [[1, 0], [0, 1], [0.6, 0.8]]
    >>> Vectors.load(folder, plan).search(np.array([[0, 1]], np.float32), k=2)
    [[(1, 1.0), (2, 0.800...)]]
    """

    plan: IndexPlan
    vectors: FloatArray | None
    """None where they are in the index."""
    index: Any
    options: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, plan: IndexPlan, ef: int | None = None, nprobe: int | None = None) -> Vectors:
        """Map a folder's vectors into memory.

        Raises DataError where they are damaged, and SpecError for an option that is another kind's.
        """
        options = effort(plan.kind, ef, nprobe)
        lib, vectors, index = faiss(), None, None
        try:
            if plan.kind != "hnsw":
                vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
            if plan.kind != "flat":
                # Each flag maps what the other reads: the vectors of a graph, the lists of codes.
                flag = lib.IO_FLAG_MMAP_IFC if plan.kind == "hnsw" else lib.IO_FLAG_MMAP
                index = lib.read_index(str(folder / INDEX), flag)
        except (OSError, ValueError, EOFError, RuntimeError) as error:
            reason = str(error).strip().rpartition("\n")[2]
            raise DataError(folder, f"the index is damaged: {reason:.200}") from None
        wanted = (plan.count, plan.dimension)
        if (vectors is not None and vectors.shape != wanted) or (
            index is not None and (index.ntotal, index.d) != wanted
        ):
            raise DataError(folder, "the index is damaged: its files do not belong together")
        return cls(plan, vectors, index, options)

    def search(self, queries: FloatArray, k: int) -> list[list[tuple[int, float]]]:
        """For each row the numbers and inner products of the ``k`` nearest vectors, nearest first.

        Ties stand in the order of the numbers.
        """
        k = min(k, self.plan.count)
        numbers, scores = _SEARCH[self.plan.kind](self, np.ascontiguousarray(queries, np.float32), k)
        found = []
        for own, values in zip(numbers, scores, strict=True):
            order = np.lexsort((own, -values))
            order = order[own[order] >= 0][:k]  # -1 fills up where fewer were found
            found.append(list(zip(own[order].tolist(), values[order].tolist(), strict=True)))
        return found


_Found: TypeAlias = tuple[npt.NDArray[np.int64], FloatArray]
"""For each query, numbers and scores."""


def _flat(vectors: Vectors, queries: FloatArray, k: int) -> _Found:
    lib, count = faiss(), vectors.plan.count
    wide = min(k + 1, count)
    while True:
        scores, numbers = lib.knn(queries, vectors.vectors, wide, lib.METRIC_INNER_PRODUCT)
        # Which of those that tie for the last place faiss brings is chance: all of them must be there.
        if wide == count or (scores[:, -1] < scores[:, k - 1]).all():
            return numbers, scores
        wide = min(2 * wide, count)


def _hnsw(vectors: Vectors, queries: FloatArray, k: int) -> _Found:
    asked = faiss().SearchParametersHNSW(efSearch=max(vectors.options["ef"], k))
    scores, numbers = vectors.index.search(queries, k, params=asked)
    return numbers, scores


def _ivfpq(vectors: Vectors, queries: FloatArray, k: int) -> _Found:
    assert vectors.vectors is not None
    asked = faiss().SearchParametersIVF(nprobe=min(vectors.options["nprobe"], vectors.plan.lists))
    _, numbers = vectors.index.search(queries, min(k * REFINED, vectors.plan.count), params=asked)
    exact = np.einsum("qcd,qd->qc", vectors.vectors[np.maximum(numbers, 0)], queries)
    return numbers, np.asarray(exact, np.float32)


_SEARCH: Mapping[str, Callable[[Vectors, FloatArray, int], _Found]] = {
    "flat": _flat,
    "hnsw": _hnsw,
    "ivfpq": _ivfpq,
}
