"""Dense search: texts become vectors, by an encoder of sentence-transformers, and the nearest are found.

The vectors lie in a folder that ``igpo-gym index build --dense MODEL`` or :func:`build_dense` makes, and are
mapped into memory by :class:`DenseIndex`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.episode import Passage
from igpo_gym.errors import DataError
from igpo_gym.search.dense.encoder import Encoder, load_encoder
from igpo_gym.search.dense.folder import build_dense, checked_manifest
from igpo_gym.search.dense.vectors import IndexPlan, Vectors
from igpo_gym.search.passages import StoredPassages
from igpo_gym.search.shared import shared

__all__ = ["DenseIndex", "build_dense", "dense"]

logger = logging.getLogger(__name__)

MAX_QUERY_CHARS = 8000
"""How much of a query is encoded, which is more than the encoders read."""


def dense(
    folder: str,
    /,
    *,
    model: str | None = None,
    query_prefix: str | None = None,
    device: str = "auto",
    ef: int | None = None,
    nprobe: int | None = None,
) -> DenseIndex:
    """What the spec ``dense`` calls: the index in a folder, one for all equal specs of a process."""
    settings = (model, query_prefix, device, ef, nprobe)
    return shared(
        f"dense {Path(folder).resolve()} {specs.fingerprint(Path(folder))} {settings}",
        lambda: DenseIndex.load(
            folder, model=model, query_prefix=query_prefix, device=device, ef=ef, nprobe=nprobe
        ),
    )


@dataclass(frozen=True, eq=False, repr=False)
class DenseIndex:
    """Passages and their vectors. Read-only and thread-safe.

    The score is the inner product of query and passage: the cosine, for most encoders. A query always finds
    ``k`` passages, as long as there are so many, apart from an empty one, which finds none.
    """

    passages: StoredPassages
    vectors: Vectors
    encoder: Encoder
    query_prefix: str
    identity: str
    """What the results depend on, beside query and ``k``: the folder's content, the prefix, the effort."""
    made: Callable[[], DenseIndex]
    """Loads it again: where it is unpickled, its vectors are mapped and its encoder is loaded there."""

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        model: str | None = None,
        query_prefix: str | None = None,
        device: str = "auto",
        ef: int | None = None,
        nprobe: int | None = None,
    ) -> DenseIndex:
        """Map a saved index into memory, and load its encoder.

        ``model`` says where the encoder is now, if it is no longer where it was when the index was built.
        ``query_prefix`` takes the place of the one that was named then. ``ef`` (of an ``hnsw`` index, by
        default 128) and ``nprobe`` (of an ``ivfpq`` index, by default 64) are how much is looked at: more is
        nearer to exact, and slower.

        Raises DataError for a folder that is missing, damaged, no such index or of another format, and for an
        encoder that is not the one it was built with; SpecError for options that do not fit.
        """
        folder = Path(folder)
        manifest = checked_manifest(folder)
        plan = IndexPlan(manifest["vectors"], manifest["passages"], manifest["dimension"])
        vectors = Vectors.load(folder, plan, ef, nprobe)
        passages = StoredPassages(folder)
        if len(passages) != plan.count:
            raise DataError(folder, "the index is damaged: its files do not belong together")
        _say_memory(folder, plan)
        encoder = _encoder_of(folder, manifest, model, device)
        prefix = manifest["query_prefix"] if query_prefix is None else query_prefix
        options = "".join(f" {name}={value}" for name, value in vectors.options.items())
        identity = f"dense {manifest['checksum']}{options} {prefix!r}"
        again = partial(
            dense,
            str(folder.absolute()),
            model=model,
            query_prefix=query_prefix,
            device=device,
            ef=ef,
            nprobe=nprobe,
        )
        return cls(passages, vectors, encoder, prefix, identity, again)

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query the ``k`` nearest passages, nearest first, ties in corpus order.

        An empty query finds none. What an encoder makes of a query may differ in the last digits with the
        queries that it is encoded with.

        Raises ValueError when ``k`` is below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, found {k}")
        asked = list(dict.fromkeys(query[:MAX_QUERY_CHARS] for query in queries if query.strip()))
        if not asked:
            return [[] for _ in queries]
        rows = self.vectors.search(self.encoder.encode(asked, self.query_prefix), k)
        found = dict(zip(asked, rows, strict=True))
        return [
            [
                replace(self.passages[number], score=score)
                for number, score in found.get(query[:MAX_QUERY_CHARS], ())
            ]
            for query in queries
        ]

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        """For each passage id its document: all passages of its title in corpus order, or the passage alone
        where it has no title; nothing for an id that is not in the corpus."""
        return self.passages.documents(ids)

    def facts(self) -> dict[str, str | int]:
        """What ``info["search"]`` shows."""
        plan = self.vectors.plan
        return {
            "backend": "dense",
            "model": Path(self.encoder.name).name,
            "vectors": plan.kind,
            "passages": plan.count,
            **self.vectors.options,
        }

    def __len__(self) -> int:
        return len(self.passages)

    def __getitem__(self, number: int) -> Passage:
        passage: Passage = self.passages[number]
        return passage

    def __repr__(self) -> str:
        return f"DenseIndex({len(self)} passages, {self.vectors.plan.kind}, {self.encoder.name})"

    def __deepcopy__(self, memo: object) -> DenseIndex:
        """The index itself, which nothing can change: Gymnasium copies the arguments of an environment."""
        return self

    def __reduce__(self) -> tuple[Callable[[], DenseIndex], tuple[()]]:
        return self.made, ()


def _encoder_of(folder: Path, manifest: dict[str, Any], model: str | None, device: str) -> Encoder:
    built = manifest["model"]
    if not model and Path(built).is_absolute() and not Path(built).is_dir():
        raise DataError(folder, f"its encoder is no longer at {built}; say where it is: #model=FOLDER")
    encoder = load_encoder(model or built, device)
    if encoder.fingerprint != manifest["model_fingerprint"]:
        raise DataError(
            folder, f"the index was built with the encoder {built!r}, and {encoder.name!r} is another one"
        )
    return encoder


def _say_memory(folder: Path, plan: IndexPlan) -> None:
    """Say what searching needs, before it is loaded; a warning where the machine does not have it."""
    need = plan.search / 1e9
    logger.info("%s: %.1f GB are mapped into memory (%s, %d vectors)", folder, need, plan.kind, plan.count)
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
        if need > there:
            logger.warning(
                "%s needs %.1f GB to search and the machine has %.1f: it will wait for its disk; "
                "--faiss ivfpq needs less",
                folder,
                need,
                there,
            )
