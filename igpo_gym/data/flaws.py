"""What a search lacks on purpose, so that an agent has to read on: a setting of questions and searches."""

from __future__ import annotations

from dataclasses import dataclass

from igpo_gym.errors import SpecError


@dataclass(frozen=True, slots=True)
class Flaws:
    """How a search is worse than the retriever that it is made with; by default it is not.

    Raises SpecError for settings outside their range.

    >>> bool(Flaws()), bool(Flaws(shown=2))
    (False, True)
    """

    shown: int | None = None
    """How many sentences of a document a search shows; the tool ``open`` shows the rest. None for all."""

    def __post_init__(self) -> None:
        if self.shown is not None and self.shown < 1:
            raise SpecError("shown must be at least 1: how many sentences of a document a search shows")

    def __bool__(self) -> bool:
        return self != Flaws()
