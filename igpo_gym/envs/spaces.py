"""A space of Unicode texts that stays fast on long ones.

Gymnasium's ``Text`` looks every character up in a character set: 2.5 ms to check 20,000 characters, and 2.5 s
to build with all of Unicode. Here a check is a comparison of lengths.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.error import CustomSpaceError
from gymnasium.spaces import Space
from gymnasium.spaces.utils import flatdim, flatten, flatten_space, unflatten
from gymnasium.vector.utils import create_shared_memory
from gymnasium.wrappers.utils import create_zero_array

_SURROGATES = range(0xD800, 0xE000)
_CODE_POINTS = 0x110000 - len(_SURROGATES)


class UnicodeText(Space[str]):
    """All strings of at most ``max_length`` characters.

    Args:
        max_length: the longest text in the space, in characters.
        sample_length: the longest text that :meth:`sample` draws, short so that a random agent does not flood
            its transcript.
        seed: seeds :meth:`sample`.

    >>> space = UnicodeText(seed=0)
    >>> "Günter Grass" in space, 7 in space
    (True, False)
    >>> space.sample() in space
    True
    """

    def __init__(
        self,
        max_length: int = 10_000_000,
        sample_length: int = 100,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        if not 0 <= sample_length <= max_length:
            raise ValueError(f"0 <= sample_length <= max_length, not {sample_length} and {max_length}")
        self.max_length = max_length
        self.sample_length = sample_length
        super().__init__(dtype=str, seed=seed)

    def sample(self, mask: None = None, probability: None = None) -> str:
        """A text of random length and random characters of all of Unicode. Takes no mask."""
        if mask is not None or probability is not None:
            raise ValueError("UnicodeText samples without mask or probability")
        length = self.np_random.integers(self.sample_length, endpoint=True)
        codes = self.np_random.integers(_CODE_POINTS, size=length, dtype=np.uint32)
        codes[codes >= _SURROGATES.start] += len(_SURROGATES)
        return codes.astype("<u4").tobytes().decode("utf-32-le")

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is a string that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    @property
    def is_np_flattenable(self) -> bool:
        """Texts of unlike length do not flatten."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and self.max_length == other.max_length

    def __repr__(self) -> str:
        return f"UnicodeText({self.max_length})"


# What Gymnasium does with the spaces that it knows, and with others by registration.


@flatdim.register(UnicodeText)
def _no_dimension(space: UnicodeText) -> int:
    raise ValueError(f"{space} does not flatten to a fixed size: its texts differ in length")


@flatten_space.register(UnicodeText)
def _flat(space: Space[Any]) -> Space[Any]:
    return space


@flatten.register(UnicodeText)
@unflatten.register(UnicodeText)
def _as_it_is(space: UnicodeText, x: str) -> str:  # type: ignore[misc]
    return x


@create_zero_array.register(UnicodeText)
def _empty(space: Space[Any]) -> str:  # type: ignore[misc]
    return ""


@create_shared_memory.register(UnicodeText)
def _no_shared_memory(space: Space[Any], n: int = 1, ctx: Any = None) -> Any:
    raise CustomSpaceError(
        "texts have no fixed size that processes could share: make the vector environment with "
        "shared_memory=False, or take gym.make_vec, which plays all episodes in one process"
    )
