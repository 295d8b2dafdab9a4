"""The best passages for the words of a query, exactly, with ties in the order of the passages.

Few postings are all added up (:func:`every_sum`). Of many, passages are ranked a million at a time, and words
from the rarest to the most frequent one (MaxScore): once the k-th best sum known exceeds all that the
remaining words can add, they bring no new passage, and are only looked up for those that can still win. What
is known of the k-th best sum is carried from one million to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from threading import local

import numpy as np
import numpy.typing as npt

EASY = 1 << 17
"""Up to so many postings, where eight passages count as one, adding up every score is the fastest way."""

RANGE = 1 << 20
"""How many passages are ranked at once."""

_MANY = 1 << 16
"""Before a word with so many passages it is worth while to look for a better bound."""

_FEW, _PROMISING = 1024, 32
"""A bound is sought among so many passages a word, and the whole sums of so many are looked up."""

_LOOKUP = 8
"""Looking a passage up takes as long as adding so many scores."""

_CLEARED = 16
"""Clearing so many sums in their order takes as long as clearing a single one."""


@dataclass(frozen=True, slots=True, eq=False)
class Postings:
    """The passages that have a word, ascending, what it adds to each one's score, and the most it adds."""

    numbers: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    top: float


def best(query: Sequence[Postings], passages: int, k: int) -> list[tuple[int, float]]:
    """Numbers and scores of the ``k`` best of so many passages, best first.

    The query's words stand in their order, a repeated one as often as it is there (as the same object).
    """
    easy = sum(len(word.numbers) for word in query) + passages // 8 < EASY
    return every_sum(query, passages, k) if easy else pruned(query, passages, k)


def every_sum(query: Sequence[Postings], passages: int, k: int) -> list[tuple[int, float]]:
    """:func:`best`, by the sums of all passages."""
    # Word by word in single precision, as bm25s adds, so that the sums are the same to the last bit.
    sums = np.zeros(passages, np.float32)
    for word in query:
        np.add.at(sums, word.numbers, word.scores)
    distinct = dict.fromkeys(query)
    numbers = np.concatenate([word.numbers for word in distinct])
    entries = k * len(distinct)  # a passage stands in numbers once per word at most
    if len(numbers) >= passages:
        numbers, entries = sums.nonzero()[0].astype(np.int32), k
    totals = sums.take(numbers)
    if len(totals) > entries:
        kept = (totals >= _kth(totals, entries)).nonzero()[0]
        numbers, totals = numbers[kept], totals[kept]
    return _pairs(_merged(_keys(numbers, totals), k))


def pruned(query: Sequence[Postings], passages: int, k: int, size: int = RANGE) -> list[tuple[int, float]]:
    """:func:`best`, without the sums that cannot matter."""
    times = Counter(query)
    words = sorted(times, key=lambda word: len(word.numbers))
    most = [times[word] * word.top for word in words]
    edges = np.minimum(np.arange(0, passages + size, size), passages).astype(np.int32)
    cuts = [word.numbers.searchsorted(edges).tolist() for word in words]
    slack = 1 - len(query) * 2.0**-21  # sums of the same scores in another order differ by less
    scratch = _borrow(min(size, passages))
    keys = np.empty(0, np.int64)
    bound = 0.0
    for place in range(len(edges) - 1):
        here = [
            _Part(
                word.numbers[cut[place] : cut[place + 1]],
                word.scores[cut[place] : cut[place + 1]],
                times[word],
                top,
            )
            for word, cut, top in zip(words, cuts, most, strict=True)
            if cut[place] < cut[place + 1]
        ]
        if not here or sum(part.most for part in here) < bound * slack:
            continue
        numbers = _candidates(here, scratch, place * size, k, bound, slack)
        keys = _merged(np.concatenate([keys, _keys(numbers, _totals(numbers, query))]), k)
        if len(keys) == k:
            bound = float(_scores(keys[-1:])[0])
    _kept.sums = scratch
    return _pairs(keys)


_kept = local()


def _borrow(size: int) -> npt.NDArray[np.float32]:
    """Zeros. Who ends well leaves them as zeros in ``_kept`` for this thread's next query."""
    sums: npt.NDArray[np.float32] | None = _kept.__dict__.pop("sums", None)
    return np.zeros(size, np.float32) if sums is None or len(sums) < size else sums


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A word's postings among the passages at hand."""

    numbers: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    times: int
    most: float
    """The most that the word adds to a sum, all its repetitions together."""

    def weighted(self) -> npt.NDArray[np.float32]:
        return self.scores if self.times == 1 else self.scores * np.float32(self.times)

    def found(self, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """What the word adds to each of these passages, all its repetitions together."""
        at = self.numbers.searchsorted(numbers)
        at[at == len(self.numbers)] = 0
        scores = np.where(self.numbers[at] == numbers, self.scores[at], np.float32(0))
        return scores if self.times == 1 else scores * np.float32(self.times)


def _candidates(
    words: Sequence[_Part], sums: npt.NDArray[np.float32], first: int, k: int, bound: float, slack: float
) -> npt.NDArray[np.int32]:
    """The passages from ``first`` on that may be among the best ``k``, ascending.

    ``words`` stand from the rarest on. ``sums`` are zeros, and are so afterwards.
    """
    rest = [*accumulate((word.most for word in reversed(words)), initial=0.0)][::-1]  # from each word on
    added: list[npt.NDArray[np.int32]] = []

    def add(word: _Part) -> None:
        at = word.numbers - np.int32(first) if first else word.numbers
        np.add.at(sums, at, word.weighted())
        added.append(at)

    # The passages of rare words, until what is left can bring no new one.
    done = 0
    for word in words:
        if added and len(word.numbers) >= _MANY and rest[done] >= bound * slack:
            bound = max(bound, _promised(added, sums, words[done:], first, k, slack))
        if rest[done] < bound * slack:
            break
        add(word)
        done += 1
    if not added:
        return np.empty(0, np.int32)
    places = np.concatenate(added)
    totals = sums.take(places)
    bound = max(bound, _kth(totals[: len(added) * _FEW], len(added) * k))
    fresh = len(added)
    while True:
        kept = np.flatnonzero(totals >= bound * slack - rest[done])
        places, totals = places[kept], totals[kept]
        if done == len(words) or len(places) * _LOOKUP < len(words[done].numbers):
            break
        add(words[done])  # cheaper than looking so many passages up
        totals = sums.take(places)
        done += 1
    if sum(map(len, added)) * _CLEARED > len(sums):
        sums[:] = 0
    else:
        for at in added:
            sums[at] = 0
    if done == len(words):
        bound = max(bound, _kth(totals, fresh * k))
        return np.unique(places[totals >= bound * slack]) + np.int32(first)
    places, once = np.unique(places, return_index=True)
    numbers, totals = places + np.int32(first), totals[once]
    for place in range(done, len(words)):
        totals = totals + words[place].found(numbers)
        bound = max(bound, _kth(totals, k))
        kept = np.flatnonzero(totals >= bound * slack - rest[place + 1])
        numbers, totals = numbers[kept], totals[kept]
    return numbers


def _promised(
    added: Sequence[npt.NDArray[np.int32]],
    sums: npt.NDArray[np.float32],
    words: Sequence[_Part],
    first: int,
    k: int,
    slack: float,
) -> float:
    """A bound of the k-th best sum: of passages that are good so far, with the words to come if need be."""
    places = np.concatenate(added)[: len(added) * _FEW]
    totals = sums.take(places)
    bound = _kth(totals, len(added) * k)
    if sum(word.most for word in words) < bound * slack:
        return bound
    numbers = np.unique(places[totals >= _kth(totals, len(added) * (k + _PROMISING))])
    totals = sums.take(numbers)
    numbers += np.int32(first)
    for word in words:
        totals = totals + word.found(numbers)
    return max(bound, _kth(totals, k))


def _kth(values: npt.NDArray[np.float32], k: int) -> float:
    """The ``k``-th largest value; of fewer values, 0."""
    place = len(values) - k
    if place < 0:
        return 0.0
    values = values.copy()
    values.partition(place)
    return float(values[place])


def _totals(numbers: npt.NDArray[np.int32], query: Sequence[Postings]) -> npt.NDArray[np.float32]:
    """The sums of these passages, added as :func:`every_sum` adds."""
    found = {
        word: _Part(word.numbers, word.scores, 1, word.top).found(numbers) for word in dict.fromkeys(query)
    }
    totals = np.zeros(len(numbers), np.float32)
    for word in query:
        totals += found[word]
    return totals


def _keys(numbers: npt.NDArray[np.int32], totals: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Integers in the order of the ranking: the bits of positive floats are ordered as the floats are."""
    return (-totals.view(np.int32)).astype(np.int64) << 32 | numbers


def _merged(keys: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """The ``k`` best of the keys, each once, in their order. The keys are sorted in place."""
    keys.sort()
    return np.concatenate([keys[:1], keys[1:][keys[1:] != keys[:-1]]])[:k]


def _scores(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return (-(keys >> 32)).astype(np.int32).view(np.float32)


def _pairs(keys: npt.NDArray[np.int64]) -> list[tuple[int, float]]:
    return list(zip((keys & 0xFFFFFFFF).tolist(), _scores(keys).tolist(), strict=True))
