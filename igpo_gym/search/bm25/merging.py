"""Joining sorted blocks into the postings of an index, word by word, with their scores.

Blocks are ranges of passages, so a word's passages are those of its blocks one after another. Words are taken
in ranges of their hashes, which spread evenly, and postings a few million at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from igpo_gym.progress import Track
from igpo_gym.search.bm25.building import Block, Sink
from igpo_gym.search.bm25.keys import buckets

K1, B = 1.5, 0.75

_RANGE_WORDS = 1 << 20
_PIECE = 1 << 22
"""How many postings are scored at once, and about how many words of all blocks are joined at once."""


def merge(blocks: Sequence[Block], lengths: npt.NDArray[np.int32], sink: Sink, track: Track) -> None:
    """Write the words, and each word's passages and scores, to the sink."""
    ranges = -(-sum(len(block.hashes) for block in blocks) // _RANGE_WORDS)
    edges = [(place << 64) // ranges for place in range(1, ranges)]
    bounds = [
        np.concatenate([[0], block.hashes.searchsorted(np.array(edges, np.uint64)), [len(block.hashes)]])
        for block in blocks
    ]
    score = _Scores(lengths)
    read = [0] * len(blocks)
    written = 0
    sink.append("starts", np.zeros(1, np.int64))
    for place in track(range(ranges), "scoring words", ranges):
        slices = [slice(int(bound[place]), int(bound[place + 1])) for bound in bounds]
        parts = [_Part(block, cut, start) for block, cut, start in zip(blocks, slices, read, strict=True)]
        read = [part.end for part in parts]
        known, places = np.unique(np.concatenate([part.hashes for part in parts]), return_inverse=True)
        for part, own in zip(
            parts, np.split(places, np.cumsum([len(p.hashes) for p in parts])[:-1]), strict=True
        ):
            part.words = own
        weights = np.concatenate([part.counts for part in parts])
        passages = np.bincount(places, weights, len(known)).astype(np.int64)
        for name, piece in _postings(parts, passages, score):
            sink.append(name, piece)
        sink.append("words", known)
        sink.append("starts", written + np.cumsum(passages))
        written += int(passages.sum())
    sink.append("word_buckets", buckets(sink.written("words")))


class _Part:
    """The words of one block whose hashes lie in a range."""

    def __init__(self, block: Block, cut: slice, start: int) -> None:
        self.hashes = block.hashes[cut]
        self.counts = block.counts[cut]
        self.starts = start + np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        """(words + 1,): where each word's postings begin in the block."""
        self.words: npt.NDArray[np.int64] = np.empty(0, np.int64)
        """(words,): which word of the range each one is; ascending."""
        self.block = block

    @property
    def end(self) -> int:
        return int(self.starts[-1])


class _Scores:
    """The scores of bm25s's method "lucene", rounded where it rounds."""

    def __init__(self, lengths: npt.NDArray[np.int32]) -> None:
        self._lengths = lengths
        possible = np.arange(int(lengths.max()) + 1)
        self._norms = K1 * ((1 - B) + B * possible / lengths.mean())

    def idf(self, passages: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(words,): the weight of words that so many passages have."""
        distinct, places = np.unique(passages, return_inverse=True)
        total = len(self._lengths)
        weights = [math.log(1 + (total - have + 0.5) / (have + 0.5)) for have in distinct.tolist()]
        return np.array(weights, np.float32)[places]

    def __call__(
        self, idf: npt.NDArray[np.float32], numbers: npt.NDArray[np.int32], times: npt.NDArray[Any]
    ) -> npt.NDArray[np.float32]:
        often = times.astype(np.float64)
        often /= self._norms[self._lengths[numbers]] + often
        often *= idf
        return often.astype(np.float32)


def _postings(
    parts: Sequence[_Part], passages: npt.NDArray[np.int64], score: _Scores
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The pieces of numbers, scores and tops of a range's words, of which so many passages have each."""
    idf = score.idf(passages)
    ends = np.cumsum(passages)
    first = 0
    while first < len(passages):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(ends.searchsorted(before + _PIECE, "right")))
        if last == first + 1:
            top = np.zeros(1, np.float32)
            for part in parts:
                numbers, times = _cut(part, first, last)[2:]
                if len(numbers):
                    scores = score(idf[first:last], numbers, times)
                    top = np.maximum(top, scores.max())
                    yield "numbers", numbers
                    yield "scores", scores
            yield "tops", top
        else:
            numbers, times = _joined(parts, passages[first:last], first, last)
            scores = score(np.repeat(idf[first:last], passages[first:last]), numbers, times)
            yield "numbers", numbers
            yield "scores", scores
            starts = ends[first:last] - passages[first:last] - before
            yield "tops", np.maximum.reduceat(scores, starts)
        first = last


def _joined(
    parts: Sequence[_Part], passages: npt.NDArray[np.int64], first: int, last: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """The postings of successive words: each block's go behind those of earlier blocks, word by word."""
    filled = np.cumsum(passages) - passages
    total = int(passages.sum())
    joined = np.empty(total, np.int32)
    joined_times = np.empty(total, np.result_type(*(part.block.times for part in parts)))
    for part in parts:
        words, counts, numbers, times = _cut(part, first, last)
        shift = np.repeat(filled[words] - (np.cumsum(counts) - counts), counts)
        shift += np.arange(len(numbers))
        joined[shift] = numbers
        joined_times[shift] = times
        filled[words] += counts
    return joined, joined_times


def _cut(
    part: _Part, first: int, last: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[Any]]:
    """The block's postings of words ``first`` to ``last``: which words, how many each, numbers and times."""
    low, high = part.words.searchsorted([first, last]).tolist()
    start, end = part.starts[[low, high]].tolist()
    block = part.block
    return (
        part.words[low:high] - first,
        part.counts[low:high],
        block.numbers[start:end],
        block.times[start:end],
    )
