"""The settings of a generated world: how large it is, and every dial that makes it harder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from random import Random
from typing import Any

from igpo_gym.data.flaws import Flaws
from igpo_gym.data.world.language import KINDS, NAMESAKES
from igpo_gym.data.world.names import SPLITS
from igpo_gym.errors import SpecError

SLOTS = tuple(kind for kind, about in KINDS.items() for _ in range(about.count))
"""The kind of each entity of a neighborhood."""

SMALLEST = 2 * len(SLOTS)
"""The fewest entities that a world may have."""

LARGEST = 10_000_000

ROOMY = 40
"""The fewest entities that a world may have in which facts have other values than the right one."""

_DIALS_FROM = 6
"""The place of the first field of WorldSettings that stands in ``code`` only where it is not the default."""


@dataclass(frozen=True)
class WorldSettings:
    """All that decides what a world is. Raises SpecError for settings outside their range.

    What comes after ``split`` is a dial: its default leaves a world as it is without it.
    """

    documents: int = 500
    """How many entities, from 20 to ten million. Each has a document."""
    questions: int = 500
    """How many questions, at least 1."""
    hops: tuple[int, int] = (1, 3)
    """The fewest and the most hops of a question, within 1 and 4."""
    coupling: float = 0.8
    """How often a fact stays in the neighborhood, in [0, 1]: how much a hop says about later ones."""
    seed: int = 0
    split: str = "train"
    """Which names are used: "train", "validation" or "test" share none."""
    long_names: float = 0.0
    """Which share of the names' words has three syllables, in [0, 1], though two would do: a world has more
    names than short words from some 600 documents in the test split."""
    distractors: int = 0
    """How many namesakes each entity has, up to 4: further documents, under a name that holds the entity's,
    which state its relations with other targets."""
    outdated: float = 0.0
    """Which share of the entities has a second document with former values of its facts, in [0, 1]. The
    sentences of both are dated, and the latest date counts."""
    several: float = 0.0
    """Which share of the questions has two right answers, in [0, 1]."""
    unanswerable: float = 0.0
    """Which share of the questions has no answer in the documents, in [0, 1]; the right answer says so."""
    shown: int | None = None
    """How many sentences of a document a search shows; the tool ``open`` shows the rest. None for all."""
    miss: float = 0.0
    """Which share of the queries misses, in [0, 1]; see :class:`igpo_gym.data.flaws.Flaws`."""

    def __post_init__(self) -> None:
        low, high = self.hops
        shares = ("coupling", "long_names", "outdated", "several", "unanswerable")
        other_values = self.distractors or self.outdated or self.several
        for ok, problem in (
            (SMALLEST <= self.documents <= LARGEST, f"documents must be {SMALLEST} to {LARGEST}"),
            (self.questions >= 1, "questions must be at least 1"),
            (1 <= low <= high <= 4, "hops must be a number or a range within 1-4, such as 2-3"),
            *((0.0 <= getattr(self, n) <= 1.0, f"{n} must be a number from 0 to 1") for n in shares),
            (self.seed >= 0, "seed must not be negative"),
            (self.split in SPLITS, f"split must be one of: {', '.join(SPLITS)}"),
            (0 <= self.distractors <= NAMESAKES, f"distractors must be 0 to {NAMESAKES} for each document"),
            (
                self.several + self.unanswerable <= 1.0,
                "several and unanswerable are shares of all questions and must not sum to more than 1",
            ),
            (
                self.documents >= ROOMY or not other_values,
                f"distractors, outdated and several need at least {ROOMY} documents",
            ),
        ):
            if not ok:
                raise SpecError(f"{problem} in a generated world")
        _ = self.flaws  # which checks its own

    @property
    def flaws(self) -> Flaws:
        """What the search of this world lacks."""
        return Flaws(self.shown, self.miss, self.seed if self.miss else 0)

    @property
    def dials(self) -> dict[str, Any]:
        """The dials that are not at their default, by name.

        >>> WorldSettings(shown=2, miss=1, seed=3).dials
        {'shown': 2, 'miss': 1.0}
        """
        found = ((each.name, getattr(self, each.name), each.default) for each in fields(self)[_DIALS_FROM:])
        return {
            name: float(value) if isinstance(usual, float) else value
            for name, value, usual in found
            if value != usual
        }

    @cached_property
    def code(self) -> str:
        """Eight hex digits for all that decides what question n of a world is: all settings but how many.

        Worlds that differ in it share no question id. It stands at the head of the ids.

        >>> first = WorldSettings(seed=1).code
        >>> first == WorldSettings(seed=1, questions=9).code, first == WorldSettings(seed=2).code
        (True, False)
        """
        low, high = self.hops
        settings = f"{self.split}/{self.documents}/{low}-{high}/{float(self.coupling)!r}/{self.seed}"
        settings += "".join(f"/{name}={value!r}" for name, value in self.dials.items())
        return hashlib.sha256(settings.encode()).hexdigest()[:8]

    def random(self, purpose: str, number: int) -> Random:
        """The generator of one purpose and one entity, or question."""
        # Seeded by text: the same on every machine and Python, unlike hash().
        return Random(f"{self.split}/{self.seed}/{purpose}/{number}")
