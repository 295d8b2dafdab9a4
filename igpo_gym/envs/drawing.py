"""Many draws of a seed at once, each the one that a generator of numpy's of its own would give.

``default_rng((seed, number)).integers(size)`` makes a generator for one number, which takes 16 microseconds,
half of a reset. What that generator does is computed here for many numbers together: the mixing of its seeds
(numpy's ``SeedSequence``) column by column, then one number of PCG64 each, scaled by Lemire's method.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_POOL = 4
"""How many words the seeds are mixed into."""
_32, _64, _128 = (1 << 32) - 1, (1 << 64) - 1, (1 << 128) - 1
"""Masks of so many bits."""


def drawn(seed: int, numbers: Sequence[int], size: int) -> tuple[int, ...]:
    """``default_rng((seed, number)).integers(size)`` for each of the numbers; none of them is negative.

    >>> drawn(7, range(5), 100)
    (94, 87, 28, 72, 53)
    >>> [int(np.random.default_rng((7, number)).integers(100)) for number in range(5)]
    [94, 87, 28, 72, 53]
    """
    seed = index(seed)  # one of numpy's overflows
    if seed >> 64 or max(numbers) >> 64 or not 1 < size < 1 << 32:
        return tuple([_alone(seed, number, size) for number in numbers])
    # In words of 32 bits, the lowest first. Words that a number lacks are 0 to the mixing, too.
    pool, place = np.zeros((_POOL, len(numbers)), dtype=np.uint32), 2 if seed >> 32 else 1
    pool[0], pool[1] = seed & _32, seed >> 32
    each = np.array(numbers, dtype=np.uint64)
    pool[place], pool[place + 1] = each & np.uint64(_32), each >> np.uint64(32)
    states = _expanded(_mixed(pool)).T.tolist()
    return tuple([_below(size, state, seed, number) for state, number in zip(states, numbers, strict=True)])


def _alone(seed: int, number: int, size: int) -> int:
    return int(np.random.default_rng((seed, number)).integers(size))


def _powers(start: int, factor: int, count: int) -> list[int]:
    return [start * pow(factor, number, 1 << 32) & _32 for number in range(count)]


def _column(numbers: Sequence[int]) -> Words:
    return np.array(numbers, dtype=np.uint32)[:, None]


def _hashed(words: Words, constants: tuple[Words, Words]) -> Words:
    found = (words ^ constants[0]) * constants[1]
    return found ^ found >> _HALF


_MIX = _powers(0x43B0D7E5, 0x931E8875, _POOL * _POOL + 2)
_EXPAND = _powers(0x8B51F9DD, 0x58F38DED, 2 * _POOL + 1)
_ENTERING = _column(_MIX[:_POOL]), _column(_MIX[1 : _POOL + 1])
_LEAVING = _column(_EXPAND[:-1]), _column(_EXPAND[1:])
_LEFT, _RIGHT, _HALF = np.uint32(0xCA01F9DD), np.uint32(0x4973F715), np.uint32(16)


def _crossing(source: int) -> tuple[Words, Words]:
    """What a word is hashed with where it enters the others; in its own place anything."""
    first = _POOL + source * (_POOL - 1)
    each = [first + place - (place > source) for place in range(_POOL)]
    return _column([_MIX[number] for number in each]), _column([_MIX[number + 1] for number in each])


_CROSSING = [_crossing(source) for source in range(_POOL)]


def _mixed(words: Words) -> Words:
    """The words after each has entered every other, as ``SeedSequence`` does it; a column for each draw."""
    pool = _hashed(words, _ENTERING)
    for source, constants in enumerate(_CROSSING):
        mixed = _LEFT * pool - _RIGHT * _hashed(pool[source], constants)
        mixed ^= mixed >> _HALF
        mixed[source] = pool[source]
        pool = mixed
    return pool


def _expanded(pool: Words) -> npt.NDArray[np.uint64]:
    """Four numbers of 64 bits, as rows."""
    words = _hashed(np.concatenate([pool, pool]), _LEAVING).astype(np.uint64)
    return words[::2] | words[1::2] << np.uint64(32)


_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645


def _below(size: int, words: Sequence[int], seed: int, number: int) -> int:
    """The first number below ``size`` of the generator PCG64 (XSL-RR) with this state and stream."""
    stream = (words[2] << 64 | words[3]) << 1 | 1
    state = ((words[0] << 64 | words[1]) + stream) * _MULTIPLIER + stream & _128
    state = state * _MULTIPLIER + stream & _128
    turned, by = (state >> 64 ^ state) & _64, state >> 122
    scaled = ((turned >> by | turned << 64 - by) & _32) * size
    # Lemire's method draws again where the rest is below a bound, which is below the size.
    return scaled >> 32 if scaled & _32 >= size else _alone(seed, number, size)
