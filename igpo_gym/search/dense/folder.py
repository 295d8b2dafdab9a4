"""The folder of a dense index: its manifest, how it is built, and what is checked before it is read."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError
from igpo_gym.progress import Track, tracking
from igpo_gym.search.dense.encoder import Encoder, load_encoder
from igpo_gym.search.dense.vectors import FloatArray, IndexPlan, faiss, make_index, new_vectors
from igpo_gym.search.manifest import AGAIN, DENSE, MANIFEST, check_sizes, read_manifest, replaceable, sealed
from igpo_gym.search.passages import BYTES_EACH, PassageWriter, StoredPassages
from igpo_gym.storage import written_whole

FORMAT = 1
"""The version of the folder's layout; an index of another one is refused."""

_BLOCK = 4096
"""Of how many passages those of like length share a batch."""


def build_dense(
    passages: Iterable[Passage],
    folder: str | Path,
    model: str,
    *,
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
    kind: str = "auto",
    batch_size: int = 32,
    device: str = "auto",
    progress: bool = False,
    tell: Callable[[str], None] | None = None,
) -> int:
    """Build a dense index in a folder, whole or not at all, and return how many passages it has.

    ``model`` is a sentence-transformers encoder: a folder, or a name on the hub. The prefixes are what stands
    before each query and passage, by default what the model itself names. A passage is encoded as its title,
    a new line, and its text. ``kind`` is that of the vectors' index, flat, hnsw, ivfpq or auto (vectors.py).
    Passages are read once and written at once; then ``tell`` is called with what will be needed, and they are
    encoded. ``progress`` shows bars on standard error.

    Raises SpecError for an encoder that cannot be used, DuplicateIdError for two passages of one id,
    ValueError where there are none, FileExistsError for a folder that holds anything but an index, OSError
    where the disk has no room.
    """
    folder = Path(folder)
    if not replaceable(folder):
        raise FileExistsError(f"{folder} holds something else than an index: choose another place")
    IndexPlan.of(kind, 1 << 40, 1)  # a kind that does not exist is told before anything is loaded
    faiss()
    encoder = load_encoder(model, device)
    queries = encoder.query_prefix if query_prefix is None else query_prefix
    before = encoder.passage_prefix if passage_prefix is None else passage_prefix
    with written_whole(folder.absolute()) as new, tracking(progress, remaining=True) as bar:
        with PassageWriter(new) as writer:
            for passage in bar(passages, "reading passages", None):
                writer.add(passage)
        stored = StoredPassages(new)
        plan = IndexPlan.of(kind, len(stored), encoder.dimension)
        _say_needs(plan, encoder, new, tell or (lambda line: None))
        vectors = new_vectors(new, plan)
        _encode(stored, encoder, before, batch_size, vectors, bar)
        make_index(new, plan)
        manifest: dict[str, Any] = {
            "kind": DENSE,
            "format": FORMAT,
            "passages": plan.count,
            "vectors": plan.kind,
            "dimension": plan.dimension,
            "model": encoder.name,
            "model_fingerprint": encoder.fingerprint,
            "query_prefix": queries,
            "passage_prefix": before,
            "files": {
                file.name: {"bytes": file.stat().st_size, "hash": specs.fingerprint(file)}
                for file in sorted(new.iterdir())
            },
        }
        text = json.dumps(sealed(manifest), indent=2, ensure_ascii=False)
        (new / MANIFEST).write_text(text, encoding="utf-8")
    return plan.count


def _say_needs(plan: IndexPlan, encoder: Encoder, folder: Path, tell: Callable[[str], None]) -> None:
    passages = f"{plan.count * BYTES_EACH / 1e6:.1f} MB for the passages"
    tell(f"{encoder.name}: {plan.needs}, beside the model and {passages}")
    needed = plan.disk + (plan.raw if plan.kind == "hnsw" else 0)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"the vectors need {needed / 1e9:.1f} GB on disk, and {free / 1e9:.1f} GB are free")


def _encode(
    stored: StoredPassages, encoder: Encoder, prefix: str, batch_size: int, vectors: FloatArray, bar: Track
) -> None:
    """Fill the rows. Passages of like length share a batch, so that little of it is padding."""

    def batches() -> Iterator[list[int]]:
        for start in range(0, len(stored), _BLOCK):
            block = range(start, min(start + _BLOCK, len(stored)))
            texts.update((number, encoded_text(stored[number])) for number in block)
            numbers = sorted(block, key=lambda number: -len(texts[number]))
            yield from (numbers[first : first + batch_size] for first in range(0, len(block), batch_size))
            texts.clear()

    texts: dict[int, str] = {}
    for numbers in bar(batches(), "encoding batches", math.ceil(len(stored) / batch_size)):
        vectors[numbers] = encoder.encode([texts[number] for number in numbers], prefix, batch_size)


def encoded_text(passage: Passage) -> str:
    """What of a passage is encoded."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def checked_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an index whose files are as they were written.

    Raises DataError for a folder that is missing, is no dense index, is of another format, or is damaged.
    Files of more than 64 MiB are compared by their sizes, beginnings and ends.
    """
    manifest = read_manifest(folder, DENSE, FORMAT)
    check_sizes(folder, {name: written["bytes"] for name, written in manifest["files"].items()})
    for name, written in manifest["files"].items():
        if specs.fingerprint(folder / name) != written["hash"]:
            raise DataError(
                folder / name, f"the index is damaged: the file is not as it was written; {AGAIN}"
            )
    return manifest
