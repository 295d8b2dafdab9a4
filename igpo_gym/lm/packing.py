"""Many transcripts in one row in which each token stands once, for training.

Transcripts that begin alike share the tokens of their beginning: the prompt of a group of rollouts, and their
first turns as far as these are the same. A row is divided into *stretches*, one a transcript: what it has
that none before it begins with too. Nothing is padded, and transcripts do not see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

IdArray = npt.NDArray[np.int64]

CHUNK = 64
"""Queries of a chunk: with more, more scores are computed for nothing; with less, the products are small."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The tokens of a transcript that no transcript before it begins with too."""

    rows: slice
    """Where in the row they stand."""
    before: tuple[slice, ...]
    """Where the transcript's tokens before them stand, in order."""

    @property
    def start(self) -> int:
        """The position of the first of them in the transcript."""
        return sum(int(each.stop - each.start) for each in self.before)

    @property
    def stop(self) -> int:
        """The position after the last."""
        return self.start + int(self.rows.stop - self.rows.start)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some queries of a stretch, and what they see of its transcript."""

    rows: slice
    """Among all queries."""
    keys: int
    """How many keys of the transcript, from its beginning."""
    mask: torch.Tensor
    """Added to their scores, [queries, keys]: 0 where a query sees a key, -inf where not."""


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """How a row is divided, and which of its last hidden states are read.

    >>> packing, rows = pack([np.array([7, 8, 9]), np.array([7, 8, 5, 6])])
    >>> [(each.rows, each.before) for each in packing.stretches]
    [(slice(0, 3, None), ()), (slice(3, 5, None), (slice(0, 2, None),))]
    >>> rows[1].tolist(), packing.positions.tolist()
    ([0, 1, 3, 4], [0, 1, 2, 2, 3])
    """

    stretches: tuple[Stretch, ...]
    wanted: torch.Tensor | None = None
    """The rows, ascending, whose last hidden states are read; those of others may be anything. None: all."""
    _chunks: dict[tuple[torch.dtype, bool], list[list[Chunk]]] = field(default_factory=dict, repr=False)

    @property
    def tokens(self) -> int:
        """How many the row has."""
        return max((stretch.rows.stop for stretch in self.stretches), default=0)

    @property
    def positions(self) -> torch.Tensor:
        """Of each token in its transcripts, [tokens]."""
        return torch.cat([torch.arange(each.start, each.stop) for each in self.stretches])

    def reading(self, rows: torch.Tensor) -> Packing:
        """The same row, of whose last hidden states those of ``rows``, in any order, are read."""
        return replace(self, wanted=torch.unique(rows), _chunks={})

    def chunks(self, dtype: torch.dtype, wanted: bool = False) -> list[list[Chunk]]:
        """The queries of each stretch a few at a time, made once for all layers of all passes.

        With ``wanted`` they are those of the ``wanted`` rows alone, one behind the other.
        """
        if (dtype, wanted) not in self._chunks:
            longest = max(stretch.stop for stretch in self.stretches)
            # The mask of consecutive queries is a part of this one.
            triangle = torch.full((CHUNK, longest + CHUNK), -torch.inf, dtype=dtype).triu(longest + 1)
            made: list[list[Chunk]] = []
            taken = 0
            for stretch in self.stretches:
                made.append([])
                queries = self._queries(stretch, wanted)
                for positions in torch.split(queries, CHUNK) if len(queries) else ():
                    count, first, keys = len(positions), int(positions[0]), int(positions[-1]) + 1
                    if keys - first == count:
                        mask = triangle[:count, longest - first : longest - first + keys]
                    else:
                        unseen = torch.arange(keys) > positions[:, None]
                        mask = torch.zeros(unseen.shape, dtype=dtype).masked_fill_(unseen, -torch.inf)
                    made[-1].append(Chunk(slice(taken, taken + count), keys, mask))
                    taken += count
            self._chunks[dtype, wanted] = made
        return self._chunks[dtype, wanted]

    def _queries(self, stretch: Stretch, wanted: bool) -> torch.Tensor:
        """The positions in its transcript of the stretch's tokens, or of the wanted ones."""
        begin, end = stretch.rows.start, stretch.rows.stop
        rows = torch.arange(begin, end)
        if wanted and self.wanted is not None:
            rows = self.wanted[(self.wanted >= begin) & (self.wanted < end)]
        return torch.add(rows, stretch.start - begin)


def pack(transcripts: Sequence[IdArray], shared: bool = True) -> tuple[Packing, list[IdArray]]:
    """Put transcripts, of at least one token each, into a row; returns for each in which rows its tokens are.

    Of a transcript that is the beginning of one before it, nothing is added. Not ``shared``, all stand in
    full.
    """
    stretches: list[Stretch] = []
    rows: list[IdArray] = []
    tokens = 0
    for number, ids in enumerate(transcripts):
        like, known = longest_prefix(ids, transcripts[:number] if shared else ())
        new = len(ids) - known
        before = rows[like][:known] if known else np.empty(0, np.int64)
        rows.append(np.concatenate([before, np.arange(tokens, tokens + new)]))
        if new:
            stretches.append(Stretch(slice(tokens, tokens + new), _runs(before)))
        tokens += new
    return Packing(tuple(stretches)), rows


def longest_prefix(ids: IdArray, others: Sequence[IdArray]) -> tuple[int, int]:
    """Which of the others shares the longest beginning with ``ids``, and how many tokens that has.

    >>> longest_prefix(np.array([1, 2, 3]), [np.array([1, 5]), np.array([1, 2])])
    (1, 2)
    """
    lengths = [_shared(ids, other) for other in others]
    best = int(np.argmax(lengths)) if lengths else 0
    return best, lengths[best] if lengths else 0


def _shared(left: IdArray, right: IdArray) -> int:
    length = min(len(left), len(right))
    differ = left[:length] != right[:length]
    return int(differ.argmax()) if differ.any() else length


def _runs(rows: IdArray) -> tuple[slice, ...]:
    """Ascending runs of consecutive rows as slices."""
    if not len(rows):
        return ()
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return tuple(slice(int(run[0]), int(run[-1]) + 1) for run in np.split(rows, breaks))
