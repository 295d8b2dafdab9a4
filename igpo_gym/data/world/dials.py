"""The settings of a generated world: how large it is, and every dial that makes it harder."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, fields
from functools import cached_property
from random import Random
from typing import Annotated, Any, Self

from igpo_gym.config import Panel, arguments, kinds, marks
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

DIAL = Panel("Difficulty")
"""Marks what makes a world harder. A dial's default leaves a world as it is without the dial, so that it
stands in ``code`` only where it is another value."""


@dataclass(frozen=True)
class WorldSettings:
    """All that decides what a world is, said here and nowhere else: the arguments of ``load_world``, the
    options of a spec and those of ``igpo-gym world`` are made from it.

    Raises SpecError for settings outside their range.
    """

    documents: Annotated[int, "How many entities, each with a document, from 20 to ten million."] = 500
    questions: Annotated[int, "How many questions, at least 1."] = 500
    hops: Annotated[
        tuple[int, int], "How many facts a question chains: a number from 1 to 4, or a range such as 2-3."
    ] = (1, 3)
    coupling: Annotated[
        float, "How often a fact stays in the neighborhood, 0 to 1: how much a hop says about later ones."
    ] = 0.8
    seed: Annotated[int, "Another seed is another world."] = 0
    split: Annotated[str, "Which names are used: train, validation and test share none."] = "train"
    long_names: Annotated[
        float,
        DIAL,
        "Share of the names' words that have three syllables, though two would do: a world has more names "
        "than short words from some 600 documents in the test split.",
    ] = 0.0
    distractors: Annotated[
        int,
        DIAL,
        "Namesakes of each entity, 0 to 4: further documents, under a name that holds the entity's, which "
        "state its relations with other targets.",
    ] = 0
    outdated: Annotated[
        float,
        DIAL,
        "Share of the entities that have a second document, with former values of their facts. The sentences "
        "of both are dated, and the latest date counts.",
    ] = 0.0
    several: Annotated[float, DIAL, "Share of the questions that have two right answers."] = 0.0
    unanswerable: Annotated[
        float,
        DIAL,
        "Share of the questions that have no answer in the documents; the right answer says so.",
    ] = 0.0
    shown: Annotated[
        int | None,
        DIAL,
        "Sentences of a document that a search shows; the tool open shows the rest. By default all.",
    ] = None
    miss: Annotated[float, DIAL, "Share of the queries that miss what would be found first."] = 0.0

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

    @classmethod
    def of(cls, *, hops: str | int = "1-3", **settings: Any) -> Self:
        """The settings with the hops as a number or a range. TypeError for one that there is not.

        >>> WorldSettings.of(hops="2-3").hops
        (2, 3)
        """
        return cls(hops=read_hops(hops), **settings)

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
        changed = {name: value for name, value in self.changed.items() if name in DIALS}
        hints = kinds(WorldSettings)
        return {name: float(value) if hints[name] is float else value for name, value in changed.items()}

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that are not at their default, by name."""
        values = ((each.name, getattr(self, each.name), each.default) for each in fields(self))
        return {name: value for name, value, usual in values if value != usual}

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


DIALS = frozenset(marks(WorldSettings, Panel))
"""The names of the dials."""


def read_hops(text: str | int) -> tuple[int, int]:
    """The fewest and the most hops from "2-3" or "2". Raises SpecError for what is neither.

    >>> read_hops("2-3"), read_hops(2)
    ((2, 3), (2, 2))
    """
    low, dash, high = str(text).partition("-")
    try:
        return int(low), int(high if dash else low)
    except ValueError:
        raise SpecError(f"{text!r} is no number of hops and no range of them; write hops=2-3") from None


def hops_text(hops: tuple[int, int]) -> str:
    """The fewest and the most hops as ``read_hops`` reads them."""
    low, high = hops
    return f"{low}-{high}" if low < high else str(low)


def world_arguments() -> list[inspect.Parameter]:
    """The settings as a function takes them: the hops are a number or a range."""
    return [
        each.replace(default=hops_text(each.default), annotation=str | int) if each.name == "hops" else each
        for each in arguments(WorldSettings)
    ]
