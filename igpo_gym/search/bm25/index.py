"""BM25Index: passages, and the BM25 score of every word in every passage that has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from igpo_gym.episode import Passage
from igpo_gym.progress import Track, tracking
from igpo_gym.search.bm25.building import Memory, read, scratch
from igpo_gym.search.bm25.folder import ARRAYS, FORMAT, FolderWriter, Readable, checksum, load_arrays
from igpo_gym.search.bm25.keys import Keys
from igpo_gym.search.bm25.merging import merge
from igpo_gym.search.bm25.ranking import Postings, best
from igpo_gym.search.manifest import replaceable
from igpo_gym.storage import written_whole
from igpo_gym.words import STOP_WORDS, words

MAX_WORDS = 1024
"""How many words of a query count, as in Lucene: an agent that repeats itself must not stall the batch."""

_REMEMBERED = 1 << 16
"""Of how many words it is remembered where their postings are."""

_PIECE = 1 << 22
"""How many items of an array are saved at once."""


@dataclass(frozen=True, eq=False, repr=False)
class BM25Index:
    """Passages, and the BM25 score of every word in every passage that has it. Read-only and thread-safe.

    The score is that of bm25s's ``lucene`` method with k1 = 1.5 and b = 0.75. A passage's words are those of
    its title and its text, less English stop words: a query of stop words alone finds nothing. A word that a
    query repeats counts as often as it stands there, up to :data:`MAX_WORDS` words in all. Words are known by
    64 bits of their BLAKE2b hash.

    >>> index = BM25Index.build([Passage("0", "Danzig", "A port."), Passage("1", "Vistula", "A river.")])
    >>> index, [passage.title for passage in index.search(["the river"], k=2)[0]]
    (BM25Index(2 passages), ['Vistula'])
    """

    arrays: Mapping[str, Readable]
    """By name (:data:`igpo_gym.search.bm25.folder.ARRAYS`):

    - ``words``: (words,) the words' hashes, ascending; a word's place is its column.
    - ``starts``: (words + 1,) where each column begins in ``numbers`` and ``scores``.
    - ``tops``: (words,) the largest score of each column.
    - ``numbers``: (postings,) the passages that have the column's word, ascending.
    - ``scores``: (postings,) what the word adds to that passage's score, above zero.
    - ``lines``: (bytes,) the passages as JSON lines, ``[id, title, text]``.
    - ``line_starts``: (passages + 1,) where each line begins, and where the last one ends.
    - ``ids``, ``titles``: the hashes of ids and titles, ascending; ``id_numbers``, ``title_numbers``: whose.
    - ``word_buckets``, ``id_buckets``, ``title_buckets``: where hashes of equal first bits begin.
    """
    folder: Path | None = None
    """Where the index was loaded from."""
    saved: str | None = None
    """The checksum of the manifest there."""
    _remembered: dict[str, Postings] = field(default_factory=dict)

    @classmethod
    def build(cls, passages: Iterable[Passage], *, progress: bool = False) -> BM25Index:
        """Index a stream of passages in memory. Each is read once; corpora of millions: :meth:`build_folder`.

        ``progress`` shows a bar on standard error. Raises ValueError when there are no passages or no words,
        DuplicateIdError for two passages with the same id.
        """
        arrays = Memory()
        with tracking(progress) as track:
            blocks, lengths = read(_tracked(passages, track), arrays, lambda values: values)
            merge(blocks, lengths, arrays, track)
        return cls({name: arrays.written(name) for name in ARRAYS})

    @classmethod
    def build_folder(
        cls, passages: Iterable[Passage], folder: str | Path, *, progress: bool = False
    ) -> BM25Index:
        """Index a stream of passages straight into a folder, and load it: for corpora of any size.

        Needs about 370 MiB of memory, or 40 bytes a passage where that is more, and while it works twice the
        disk space of the postings. The folder appears whole or not at all; an index that is already there is
        replaced when the new one is complete. Errors are those of :meth:`build` and :meth:`save`.
        """
        folder = _place(folder)
        with (
            written_whole(folder) as new,
            closing(FolderWriter(new)) as arrays,
            tracking(progress) as track,
        ):
            blocks_folder = new.with_name("blocks")
            blocks_folder.mkdir()
            blocks, lengths = read(_tracked(passages, track), arrays, scratch(blocks_folder))
            merge(blocks, lengths, arrays, track)
            arrays.finish(len(lengths))
        return cls.load(folder)

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder, whole or not at all; an index that is already there is replaced.

        Raises FileExistsError when the folder holds anything else.
        """
        with written_whole(_place(folder)) as new, closing(FolderWriter(new)) as writer:
            for name in ARRAYS:
                array = self.arrays[name]
                for start in range(0, len(array), _PIECE):
                    writer.append(name, array[start : min(start + _PIECE, len(array))])
            writer.finish(len(self))

    @classmethod
    def load(cls, folder: str | Path) -> BM25Index:
        """Map a saved index into memory; time and memory do not depend on its size.

        Raises DataError for a folder that is missing, is not such an index, is of another format, or is
        damaged. A large index is checked while it is read, so searching raises DataError as well.
        """
        folder = Path(folder)
        arrays, saved = load_arrays(folder)
        return cls(arrays, folder, saved)

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query the ``k`` best passages that share a word with it, best first, ties in corpus order.

        Raises ValueError when ``k`` is below 1, DataError where the index turns out to be damaged.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, found {k}")
        return [self._search(query, k) for query in queries]

    def _search(self, query: str, k: int) -> list[Passage]:
        return [self.passage(number, score) for number, score in self.ranked(words(query)[:MAX_WORDS], k)]

    def ranked(self, query: Sequence[str], k: int) -> list[tuple[int, float]]:
        """The numbers and scores of the ``k`` best passages for these words, best first."""
        found = [postings for word in query if (postings := self._postings(word))]
        return best(found, len(self), k) if found else []

    def _postings(self, word: str) -> Postings | None:
        """Those of a word; None where no passage has it."""
        postings = self._remembered.get(word)
        if postings is None and word not in STOP_WORDS and (columns := self._words.find(word)):
            postings = self._column(columns[0])
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[word] = postings
        return postings

    def _column(self, column: int) -> Postings:
        start, end = self.arrays["starts"][column : column + 2].tolist()
        top = self.arrays["tops"][column : column + 1].item()
        return Postings(self.arrays["numbers"][start:end], self.arrays["scores"][start:end], top)

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        """For each passage id its document: all passages of its title in corpus order, or the passage alone
        where it has no title; nothing for an id that is not in the corpus.

        >>> parts = Passage("0", "Danzig", "A port."), Passage("1", "Danzig", "Now Gdańsk.")
        >>> index = BM25Index.build(parts)
        >>> [[passage.text for passage in document] for document in index.documents(["1"])]
        [['A port.', 'Now Gdańsk.']]
        """
        return [self._document(id_) for id_ in ids]

    def _document(self, id_: str) -> tuple[Passage, ...]:
        named = (passage for passage in self._found("id", id_) if passage.id == id_)
        passage = next(named, None)
        if passage is None or not passage.title:
            return () if passage is None else (passage,)
        title = passage.title
        return tuple(each for each in self._found("title", title) if each.title == title)

    def _found(self, what: str, text: str) -> Iterator[Passage]:
        """The passages with this id or title, in corpus order, and others whose hash is the same."""
        places = self._keys(what).find(text)
        numbers = self.arrays[f"{what}_numbers"][places.start : places.stop]
        return map(self.passage, numbers.tolist())

    def _keys(self, what: str) -> Keys:
        buckets = self.arrays[f"{what}_buckets"]
        return Keys(self.arrays[f"{what}s"], buckets[0 : len(buckets)])

    @cached_property
    def _words(self) -> Keys:
        return self._keys("word")

    def passage(self, number: int, score: float = 0.0) -> Passage:
        """The passage of that number (its place in the corpus, from 0)."""
        start, end = self.arrays["line_starts"][number : number + 2].tolist()
        id_, title, text = json.loads(self.arrays["lines"][start:end].tobytes().decode("ascii"))
        return Passage(id_, title, text, score)

    @cached_property
    def identity(self) -> str:
        """What the results depend on: a checksum of all that the index holds, wherever it lies.

        >>> from igpo_gym.episode import Passage
        >>> one, same = (BM25Index.build([Passage("0", "Danzig", "A port.")]) for _ in range(2))
        >>> one.identity == same.identity != BM25Index.build([Passage("0", "Danzig", "A city.")]).identity
        True
        """
        return f"bm25 {FORMAT} {self.saved or checksum(len(self), self.arrays)}"

    def __len__(self) -> int:
        return len(self.arrays["line_starts"]) - 1

    def __getitem__(self, number: int) -> Passage:
        if not 0 <= number < len(self):
            raise IndexError(f"there is no passage {number}: they are numbered from 0 to {len(self) - 1}")
        return self.passage(number)

    def __repr__(self) -> str:
        return f"BM25Index({len(self)} passages)"

    def __deepcopy__(self, memo: object) -> BM25Index:
        """The index itself, which nothing can change: Gymnasium copies the arguments of an environment."""
        return self

    def __reduce__(self) -> tuple[Callable[..., BM25Index], tuple[Any, ...]]:
        """A loaded index is pickled as its folder, so that processes share its pages; another one whole."""
        if self.folder is None:
            return BM25Index, (self.arrays,)
        return BM25Index.load, (self.folder.absolute(),)


def _place(folder: str | Path) -> Path:
    folder = Path(folder).resolve()
    if not replaceable(folder):
        raise FileExistsError(f"{folder} holds something else than an index: choose another place")
    return folder


def _tracked(passages: Iterable[Passage], track: Track) -> Iterable[Passage]:
    return track(passages, "reading passages", len(passages) if isinstance(passages, Sequence) else None)
