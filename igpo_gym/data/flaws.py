"""What a search lacks on purpose, so that an agent has to read on: a setting of questions and searches."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

from igpo_gym.errors import SpecError
from igpo_gym.specs import Spec
from igpo_gym.words import STOP_WORDS, words


@dataclass(frozen=True, slots=True)
class Flaws:
    """How a search is worse than the retriever that it is made with; by default it is not.

    Raises SpecError for settings outside their range.

    >>> bool(Flaws()), bool(Flaws(shown=2))
    (False, True)
    >>> flaws = Flaws(miss=0.5)
    >>> [flaws.misses(query) for query in ("Elbing", "the port of Elbing", "Elbing: a port?")]
    [False, True, True]
    """

    shown: int | None = None
    """How many sentences of a document a search shows; the tool ``open`` shows the rest. None for all."""
    miss: float = 0.0
    """Which share of the queries misses, in [0, 1]: what would be found first is left out."""
    seed: int = 0
    """Decides, together with the query's words, which queries miss."""

    def __post_init__(self) -> None:
        for ok, problem in (
            (
                self.shown is None or self.shown >= 1,
                "shown must be at least 1: how many sentences of a document a search shows",
            ),
            (
                0.0 <= self.miss <= 1.0,
                "miss must be a share from 0 to 1: how many of the queries miss",
            ),
        ):
            if not ok:
                raise SpecError(problem)

    def __bool__(self) -> bool:
        return self.shown is not None or self.miss > 0

    @property
    def changed(self) -> dict[str, str]:
        """The settings that are not at their default, as a spec has them."""
        values = ((each.name, getattr(self, each.name), each.default) for each in fields(self))
        return {name: str(value) for name, value, usual in values if value != usual}

    def misses(self, query: str) -> bool:
        """Whether this query misses: always the same for the same words, however they are put together."""
        # As an index reads them: what a search reads past, such as stop words and signs, undoes no miss.
        said = " ".join(sorted(set(words(query)) - STOP_WORDS))
        digest = hashlib.blake2b(f"{self.seed}/{said}".encode("utf-8", "surrogatepass"), digest_size=8)
        return int.from_bytes(digest.digest(), "big") < self.miss * 2**64


def flawed_spec(search: str, flaws: Flaws) -> str:
    """The spec of a search with flaws.

    >>> flawed_spec("bm25:index", Flaws(shown=2, miss=0.2))
    'flawed:bm25:index#shown=2,miss=0.2'
    """
    return str(Spec(f"flawed:{search}", flaws.changed))
