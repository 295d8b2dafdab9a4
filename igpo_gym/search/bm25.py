"""BM25 search over an index that is built once by bm25s, saved, and mapped into memory when loaded.

>>> passages = [Passage("0", "Günter Grass", "wrote The Tin Drum"), Passage("1", "Gdańsk", "a city")]
>>> index = BM25Index.build(passages)
>>> [[passage.title for passage in found] for found in index.search(["who wrote The Tin Drum", "city"], k=2)]
[['Günter Grass'], ['Gdańsk']]
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, DuplicateIdError
from igpo_gym.storage import written_whole

FORMAT = 1
"""The version of the folder's layout and of the tokenization; an index of a later one is refused."""

MAX_WORDS = 1024
"""How many words of a query count, as in Lucene: an agent that repeats itself must not stall the batch."""

_MANIFEST = "manifest.json"
_KIND = "igpo_gym BM25 index"
_words = re.compile(r"\w+").findall

T = TypeVar("T")


def words(text: str) -> list[str]:
    """The text's words: runs of Unicode letters, digits and underscores, in lower case.

    >>> words("Grass's 1959 novel")
    ['grass', 's', '1959', 'novel']
    """
    return _words(text.lower())


@dataclass(frozen=True, eq=False, repr=False)
class BM25Index:
    """Passages, and the BM25 score of every word in every passage that has it. Read-only and thread-safe.

    The score is that of bm25s's ``lucene`` method with k1 = 1.5 and b = 0.75. A passage's words are those of
    its title and its text, less bm25s's English stop words: a query of stop words alone finds nothing. A word
    that a query repeats counts as often as it stands there, up to :data:`MAX_WORDS` words in all.

    >>> index = BM25Index.build([Passage("0", "Danzig", "A port."), Passage("1", "Vistula", "A river.")])
    >>> index, [passage.title for passage in index.search(["the river"], k=2)[0]]
    (BM25Index(2 passages), ['Vistula'])
    """

    vocabulary: dict[str, int]
    """Each word's column, in order of the columns."""
    starts: npt.NDArray[np.int64]
    """(words + 1,): where each column begins in the two arrays below."""
    numbers: npt.NDArray[np.int32]
    """(postings,): the numbers of the passages that have the column's word, ascending."""
    scores: npt.NDArray[np.float32]
    """(postings,): what the word adds to that passage's score, above zero."""
    lines: npt.NDArray[np.uint8]
    """(bytes,): the passages as JSON lines, ``[id, title, text]``."""
    line_starts: npt.NDArray[np.int64]
    """(passages + 1,): where each line begins, and where the last one ends."""

    @classmethod
    def build(cls, passages: Iterable[Passage], *, progress: bool = False) -> BM25Index:
        """Index a stream of passages, each of which is read once and not kept.

        At its peak this needs about 3 GB for a million passages of 60 words. ``progress`` shows a bar on
        standard error. Raises ValueError when there are no passages, or two with the same id.
        """
        with _tracking(progress) as track:
            reader = _Reader()
            total = len(passages) if isinstance(passages, Sequence) else None
            for passage in track(passages, "reading passages", total):
                reader.add(passage)
            if not reader.ids:
                raise ValueError("there are no passages to index")
            matrix = _score(_Documents(reader, track))
        return cls(
            vocabulary=reader.vocabulary,
            starts=matrix["indptr"].astype(np.int64, copy=False),
            numbers=matrix["indices"].astype(np.int32, copy=False),
            scores=matrix["data"].astype(np.float32, copy=False),
            lines=np.frombuffer(reader.lines, np.uint8),
            line_starts=np.frombuffer(reader.line_starts, np.int64),
        )

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder, whole or not at all; an index that is already there is replaced.

        Raises FileExistsError when the folder holds anything else.
        """
        folder = Path(folder)
        if not _replaceable(folder):
            raise FileExistsError(f"{folder} holds something else than a BM25 index: choose another place")
        with written_whole(folder.absolute()) as new:
            for name in _ARRAYS:
                np.save(new / f"{name}.npy", getattr(self, name))
            (new / "lines.jsonl").write_bytes(self.lines.data)
            (new / "vocabulary.txt").write_bytes("\n".join(self.vocabulary).encode())
            sizes = {file.name: file.stat().st_size for file in sorted(new.iterdir())}
            manifest = {"kind": _KIND, "format": FORMAT, "passages": len(self), "files": sizes}
            (new / _MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> BM25Index:
        """Map a saved index into memory: the words are read now, all else when a search needs it.

        Raises DataError for a folder that is missing, is not such an index, is of a later format, or whose
        files are not as long as they were when written.
        """
        folder = Path(folder)
        manifest = _checked_manifest(folder)
        try:
            listed = (folder / "vocabulary.txt").read_bytes().decode().split("\n")
            vocabulary = {word: column for column, word in enumerate(listed)}
            arrays = {name: _map_array(folder / f"{name}.npy") for name in _ARRAYS}
            index = cls(vocabulary=vocabulary, lines=_map_bytes(folder / "lines.jsonl"), **arrays)
        except (ValueError, OSError) as error:
            raise DataError(folder, f"the index is damaged: {error}") from None
        if (
            len(index) != manifest["passages"]
            or len(index.starts) != len(vocabulary) + 1
            or not index.starts[-1] == len(index.numbers) == len(index.scores)
            or index.line_starts[-1] != len(index.lines)
        ):
            raise DataError(folder, "the index is damaged: its files do not belong together")
        return index

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query the ``k`` best passages that share a word with it, best first, ties in corpus order.

        Raises ValueError when ``k`` is below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, found {k}")
        return [self._search(query, k) for query in queries]

    def _search(self, query: str, k: int) -> list[Passage]:
        return [self.passage(number, score) for number, score in self.ranked(words(query)[:MAX_WORDS], k)]

    def ranked(self, query: Sequence[str], k: int) -> list[tuple[int, float]]:
        """The numbers and scores of the ``k`` best passages for these words, best first."""
        columns = [self.vocabulary[word] for word in query if word in self.vocabulary]
        if not columns:
            return []
        spans = {column: slice(self.starts[column], self.starts[column + 1]) for column in columns}
        postings = {column: self.numbers[span] for column, span in spans.items()}
        # Word by word in single precision, as bm25s adds, so that the sums are the same to the last bit.
        sums = np.zeros(len(self), np.float32)
        for column in columns:
            np.add.at(sums, postings[column], self.scores[spans[column]])
        numbers = np.concatenate(list(postings.values()))
        totals = sums[numbers]
        # A passage stands here once per word at most, so the k best are among the k * words best entries.
        entries = k * len(postings)
        if len(totals) > entries:
            kept = totals >= np.partition(totals, -entries)[-entries]
            numbers, totals = numbers[kept], totals[kept]
        # The bits of positive floats are ordered as the floats are: one integer sorts by score, then number.
        keys = (-totals.view(np.int32)).astype(np.int64) << 32 | numbers
        if len(keys) > entries:
            keys = np.partition(keys, entries)[:entries]
        keys = np.unique(keys)[:k]
        best = (-(keys >> 32)).astype(np.int32).view(np.float32)
        return list(zip((keys & 0xFFFFFFFF).tolist(), best.tolist(), strict=True))

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        """For each passage id its document: all passages of its title in corpus order, or the passage alone
        where it has no title; nothing for an id that is not in the corpus.

        >>> parts = Passage("0", "Danzig", "A port."), Passage("1", "Danzig", "Now Gdańsk.")
        >>> index = BM25Index.build(parts)
        >>> [[passage.text for passage in document] for document in index.documents(["1"])]
        [['A port.', 'Now Gdańsk.']]
        """
        numbers = [self._numbers_by_id.get(id_) for id_ in ids]
        return [() if number is None else self._document(number) for number in numbers]

    def _document(self, number: int) -> tuple[Passage, ...]:
        passage = self.passage(number)
        if not passage.title:
            return (passage,)
        return tuple(map(self.passage, self._numbers_by_title[passage.title]))

    @cached_property
    def _numbers_by_id(self) -> dict[str, int]:
        return {self.passage(number).id: number for number in range(len(self))}

    @cached_property
    def _numbers_by_title(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {}
        for number in range(len(self)):
            numbers.setdefault(self.passage(number).title, []).append(number)
        return numbers

    def passage(self, number: int, score: float = 0.0) -> Passage:
        """The passage of that number (its place in the corpus, from 0)."""
        line = self.lines[self.line_starts[number] : self.line_starts[number + 1]].tobytes().decode("ascii")
        id_, title, text = json.loads(line)
        return Passage(id_, title, text, score)

    def __len__(self) -> int:
        return len(self.line_starts) - 1

    def __getitem__(self, number: int) -> Passage:
        return self.passage(number)

    def __repr__(self) -> str:
        return f"BM25Index({len(self)} passages)"

    def __deepcopy__(self, memo: object) -> BM25Index:
        """The index itself, which nothing can change: Gymnasium copies the arguments of an environment."""
        return self


_ARRAYS = ("starts", "numbers", "scores", "line_starts")


class _Reader:
    """What indexing keeps of a stream of passages: their lines, and their words' columns end to end."""

    def __init__(self) -> None:
        from bm25s.stopwords import STOPWORDS_EN

        self.stop_words = frozenset(STOPWORDS_EN)
        self.ids: dict[str, int] = {}
        self.vocabulary: dict[str, int] = {}
        self.columns = array("i")
        self.column_starts = array("q", [0])
        self.lines = bytearray()
        self.line_starts = array("q", [0])

    def add(self, passage: Passage) -> None:
        number = len(self.ids)
        first = self.ids.setdefault(passage.id, number)
        if first != number:
            raise DuplicateIdError(passage.id, first, number)
        self.lines += json.dumps([passage.id, passage.title, passage.text]).encode() + b"\n"
        self.line_starts.append(len(self.lines))
        column = self.vocabulary.setdefault
        self.columns.extend(
            column(word, len(self.vocabulary))
            for word in words(f"{passage.title}\n{passage.text}")
            if word not in self.stop_words
        )
        self.column_starts.append(len(self.columns))


class _Track(Protocol):
    """Passes items through, and shows how many have passed under a name."""

    def __call__(self, items: Iterable[T], name: str, total: int | None) -> Iterable[T]: ...


@dataclass(frozen=True)
class _Documents:
    """Each passage's columns, in the form that bm25s takes, without holding a list for each.

    bm25s goes over them three times: for the lengths, for the words' frequencies, and for the scores.
    """

    reader: _Reader
    track: _Track

    @property
    def ids(self) -> _Documents:
        return self

    @property
    def vocab(self) -> dict[str, int]:
        return self.reader.vocabulary

    def __len__(self) -> int:
        return len(self.reader.ids)

    def __iter__(self) -> Iterator[list[int]]:
        columns, starts = self.reader.columns, self.reader.column_starts
        for number in self.track(range(len(self)), "scoring words", len(self)):
            yield columns[starts[number] : starts[number + 1]].tolist()


def _score(documents: _Documents) -> dict[str, npt.NDArray[Any]]:
    import bm25s

    if not documents.vocab:
        raise ValueError("the passages hold no words to search for")
    model = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy")
    model.index(documents, create_empty_token=False, show_progress=False)
    return dict(model.scores)


@contextmanager
def _tracking(shown: bool) -> Iterator[_Track]:
    if not shown:
        yield lambda items, name, total: items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield lambda items, name, total: progress.track(items, total=total, description=name)


def _replaceable(folder: Path) -> bool:
    """Whether an index may be written there: nothing is there, an empty folder, or an older index."""
    if not folder.is_dir():
        return not folder.exists()
    return (folder / _MANIFEST).is_file() or not any(folder.iterdir())


def _checked_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    if not path.is_file():
        found = f"not a BM25 index: no {_MANIFEST} in it" if folder.is_dir() else "no such folder"
        raise DataError(folder, f"{found}; `igpo-gym index build FILE FOLDER` makes an index")
    try:
        manifest = json.loads(path.read_bytes())
        kind, version, sizes = manifest["kind"], manifest["format"], dict(manifest["files"])
        manifest["passages"]
    except (ValueError, TypeError, KeyError):
        raise DataError(path, "not the manifest of a BM25 index, or a damaged one") from None
    if kind != _KIND:
        raise DataError(path, f"the folder holds {kind!r}, not {_KIND!r}")
    if version != FORMAT:
        raise DataError(path, f"the index has format {version}, this igpo_gym reads {FORMAT}: build it again")
    for name, size in sizes.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            raise DataError(file, f"the index is damaged: the file is not there with its {size} bytes")
    return dict(manifest)


def _map_array(path: Path) -> npt.NDArray[Any]:
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _map_bytes(path: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(np.memmap(path, np.uint8, mode="r"))
