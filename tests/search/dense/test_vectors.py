"""Nearest vectors, against plain numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from igpo_gym.errors import DataError, SpecError
from igpo_gym.search.dense.vectors import INDEX, VECTORS, IndexPlan, Vectors, make_index, new_vectors

pytest.importorskip("faiss", reason="dense search needs the extra dense")

Rows = npt.NDArray[np.float32]
COUNT, DIMENSION = 3000, 32


def drawn(count: int, seed: int) -> Rows:
    """Vectors of length 1 in some clusters, as those of texts are."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(60, DIMENSION))
    rows = centers[rng.integers(0, len(centers), count)] + 0.6 * rng.normal(size=(count, DIMENSION))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ROWS, QUERIES = drawn(COUNT, 1), drawn(40, 2)
PRODUCTS = QUERIES.astype(np.float64) @ ROWS.astype(np.float64).T


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each kind of index over the same vectors."""
    made = {}
    for kind in ("flat", "hnsw", "ivfpq"):
        folder = made[kind] = tmp_path_factory.mktemp(kind)
        plan = IndexPlan.of(kind, COUNT, DIMENSION)
        new_vectors(folder, plan)[:] = ROWS
        make_index(folder, plan)
    return made


def load(folder: Path, kind: str, **options: int) -> Vectors:
    return Vectors.load(folder, IndexPlan(kind, COUNT, DIMENSION), **options)


@pytest.mark.parametrize("count", [1, 40])
def test_flat_search_is_exact(folders: dict[str, Path], count: int) -> None:
    found = load(folders["flat"], "flat").search(QUERIES[:count], 10)
    for row, products in zip(found, PRODUCTS, strict=False):
        best = np.argsort(-products)[:10]
        assert [number for number, _ in row] == best.tolist()
        assert [score for _, score in row] == pytest.approx(products[best].tolist(), abs=1e-6)


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_an_index_finds_nearly_all_that_is_nearest(folders: dict[str, Path], kind: str) -> None:
    found = load(folders[kind], kind).search(QUERIES, 10)
    hits = 0
    for row, products in zip(found, PRODUCTS, strict=True):
        numbers = [number for number, _ in row]
        hits += len(set(np.argsort(-products)[:10].tolist()) & set(numbers))
        scores = [score for _, score in row]
        assert scores == pytest.approx(products[numbers].tolist(), abs=1e-6)  # exact for both kinds
        assert scores == sorted(scores, reverse=True)
    assert hits / (10 * len(QUERIES)) > 0.98


def test_effort_is_an_option_of_its_kind(folders: dict[str, Path]) -> None:
    def recall(kind: str, **options: int) -> float:
        found = load(folders[kind], kind, **options).search(QUERIES, 10)
        best = [set(np.argsort(-products)[:10].tolist()) for products in PRODUCTS]
        return sum(len(own & {n for n, _ in row}) for own, row in zip(best, found, strict=True)) / 400

    assert recall("ivfpq", nprobe=1) < 0.95 < recall("ivfpq", nprobe=32)
    assert recall("hnsw", ef=10) < recall("hnsw", ef=400)
    with pytest.raises(SpecError, match="for an hnsw index; found 5 for one that is flat"):
        load(folders["flat"], "flat", ef=5)
    with pytest.raises(SpecError, match=r"nprobe is at least 1, .* found 0 for one that is ivfpq"):
        load(folders["ivfpq"], "ivfpq", nprobe=0)


def test_equal_vectors_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    plan = IndexPlan.of("flat", 5, 2)
    new_vectors(tmp_path, plan)[:] = [[0, 1], [1, 0], [0, 1], [1, 0], [0, 1]]
    found = Vectors.load(tmp_path, plan).search(np.array([[0, 1], [1, 0]], np.float32), 9)
    assert found == [
        [(0, 1.0), (2, 1.0), (4, 1.0), (1, 0.0), (3, 0.0)],
        [(1, 1.0), (3, 1.0), (0, 0.0), (2, 0.0), (4, 0.0)],
    ]


@pytest.mark.parametrize("k", [1, 7, 15, 40])
def test_of_those_that_tie_for_the_last_place_the_first_are_found(tmp_path: Path, k: int) -> None:
    plan = IndexPlan.of("flat", 600, 8)
    kinds = np.random.default_rng(0).integers(-3, 4, (60, 8)).astype(np.float32)  # whose products are exact
    vectors = kinds[np.arange(600) % 60]
    new_vectors(tmp_path, plan)[:] = vectors
    scores = kinds @ vectors.T
    found = Vectors.load(tmp_path, plan).search(kinds, k)
    expected = [sorted(range(600), key=lambda n: (-row[n], n))[:k] for row in scores]
    assert [[number for number, _ in each] for each in found] == expected


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_what_is_said_to_be_needed_is_what_the_files_have(folders: dict[str, Path], kind: str) -> None:
    plan = IndexPlan.of(kind, COUNT, DIMENSION)
    there = {file.name: file.stat().st_size for file in folders[kind].iterdir()}
    assert set(there) == {"flat": {VECTORS}, "hnsw": {INDEX}, "ivfpq": {VECTORS, INDEX}}[kind]
    # The codebook of an ivfpq index, 1 KiB for each of its 32 numbers, is nothing beside a large index.
    books = 1024 * DIMENSION if kind == "ivfpq" else 0
    assert plan.disk + books == pytest.approx(sum(there.values()), rel=0.02)
    assert plan.search + books == pytest.approx(there.get(INDEX, there.get(VECTORS)), rel=0.05)


def test_the_kind_goes_by_the_number_of_vectors() -> None:
    counts = (1, 200_000, 200_001, 1_000_000, 1_000_001)
    assert [IndexPlan.of("auto", count, 384).kind for count in counts] == [
        "flat",
        "flat",
        "hnsw",
        "hnsw",
        "ivfpq",
    ]
    wiki = IndexPlan.of("auto", 21_015_324, 768)
    assert (wiki.lists, wiki.code_bytes) == (16384, 64)
    assert wiki.search < 2e9 < wiki.build < 5e9
    with pytest.raises(SpecError, match="unknown kind of vector index 'lsh'; choose one of: flat, hnsw"):
        IndexPlan.of("lsh", 10, 10)
    with pytest.raises(SpecError, match="an ivfpq index needs 1,024 passages, found 10; take flat"):
        IndexPlan.of("ivfpq", 10, 10)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_damaged_files_are_refused(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    for file in folders[kind].iterdir():
        for other in folders[kind].iterdir():
            (tmp_path / other.name).write_bytes(other.read_bytes())
        for content in (b"", file.read_bytes()[:200], b"nonsense" * 100):
            (tmp_path / file.name).write_bytes(content)
            with pytest.raises(DataError, match="the index is damaged"):
                load(tmp_path, kind)
    with pytest.raises(DataError, match="do not belong together"):
        Vectors.load(folders[kind], IndexPlan(kind, COUNT + 1, DIMENSION))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    plan = IndexPlan.of("hnsw", 50, DIMENSION)
    new_vectors(tmp_path, plan)[:] = ROWS[:50]
    (tmp_path / INDEX).symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"the index cannot be written: .*No space left on device") as error:
        make_index(tmp_path, plan)
    assert "\n" not in str(error.value)
