"""What is true in a world: its entities and their facts, each a function of the seed and the entity's number.

Entities live in neighborhoods of ten. Each target of a relation, and each entity that a document mentions
in passing, comes from the neighborhood with probability ``coupling`` and from anywhere otherwise. So with
coupling every hop informs about later ones; without it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from random import Random
from typing import Literal, TypeAlias

from igpo_gym.data.world import language
from igpo_gym.data.world.dials import SLOTS, WorldSettings
from igpo_gym.data.world.language import DATED, KINDS, RELATIONS, RELATIONS_OF
from igpo_gym.data.world.names import word

State: TypeAlias = Literal["single", "several", "withheld"]
"""What is known of a fact: one value, two, or none that any document states."""

_SLOTS_OF = {kind: tuple(slot for slot, k in enumerate(SLOTS) if k == kind) for kind in KINDS}
_WORDS_BEFORE = tuple(sum(KINDS[kind].words for kind in SLOTS[:slot]) for slot in range(len(SLOTS) + 1))

_WITHHELD, _SEVERAL = 0.15, 0.25
"""The shares of facts that no document states, and that have two values, in worlds whose questions ask for
such. They are few, so that chains with one of them at their end are easy to find."""

_REMEMBERED = 65_536
"""How many entities are kept rather than derived again; bounds the memory of a stream."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity. ``number`` is its place in the corpus and, as text, its document's id."""

    number: int
    kind: str
    name: str

    @property
    def phrase(self) -> str:
        """The name as it stands in a sentence."""
        return language.with_article(self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Dates:
    """When the two documents of an entity were written; no fact of a world is as late."""

    former: int
    current: int


@dataclass(frozen=True)
class Facts:
    """The facts of a world.

    >>> facts = Facts(WorldSettings(split="test"))
    >>> facts.entity(3).name, facts.targets(3)
    ('Zumlel', {'region': 9, 'mayor': 2})
    >>> facts.entity(9).phrase, facts.year(3)
    ('the Kermus Highlands', None)
    """

    settings: WorldSettings

    def entity(self, number: int) -> Entity:
        """The entity with that number, from 0 to ``documents - 1``."""
        return self._entity(number)

    def targets(self, number: int) -> dict[str, int]:
        """The entities that the relations of entity ``number`` lead to, by the relation's name."""
        return self._targets(number)

    def state(self, number: int, relation: str) -> State:
        """What is known of a fact. A year has one value."""
        settings = self.settings
        if relation == "year" or not (settings.several or settings.unanswerable):
            return "single"
        drawn = settings.random(f"state/{relation}", number).random()
        if drawn < _WITHHELD:
            return "withheld" if settings.unanswerable else "single"
        return "several" if settings.several and drawn < _WITHHELD + _SEVERAL else "single"

    def values(self, number: int, relation: str) -> tuple[int, ...]:
        """All entities that a relation leads to: one, or two where several are right."""
        first = self.targets(number)[relation]
        if self.state(number, relation) != "several":
            return (first,)
        rng = self.settings.random(f"second/{relation}", number)
        return first, self.draw(rng, RELATIONS[relation].target, number, {first})

    def other(self, rng: Random, number: int, relation: str) -> int:
        """An entity that a relation might lead to and does not."""
        return self.draw(rng, RELATIONS[relation].target, number, self.values(number, relation))

    def dates(self, number: int) -> Dates | None:
        """The dates of an entity that has a former document; None for one that has not."""
        if not self.settings.outdated:
            return None
        rng = self.settings.random("dates", number)
        if rng.random() >= self.settings.outdated:
            return None
        return Dates(rng.randrange(1900, 1950, 10), rng.randrange(1950, 2000, 10))

    def year(self, number: int) -> int | None:
        """The year of an entity whose kind has one, a multiple of ten from 1500 to 1890."""
        if self.kind(number) not in DATED:
            return None
        return 10 * self.settings.random("year", number).randrange(150, 190)

    def kind(self, number: int) -> str:
        """The kind of an entity."""
        return SLOTS[number % len(SLOTS)]

    def draw(self, rng: Random, kind: str, beside: int, but: Collection[int] = ()) -> int:
        """Another entity of that kind and none of ``but``, from the neighborhood of ``beside`` as often as
        ``coupling`` says, if there is one."""
        whole = self.settings.documents // len(SLOTS)
        home = beside // len(SLOTS)
        excluded = {beside, *but}
        near = (
            rng.random() < self.settings.coupling
            and home < whole
            and any(home * len(SLOTS) + slot not in excluded for slot in _SLOTS_OF[kind])
        )
        while True:
            number = home * len(SLOTS) + rng.choice(_SLOTS_OF[kind]) if near else self.anywhere(rng, kind)
            if number not in excluded:
                return number

    def anywhere(self, rng: Random, kind: str) -> int:
        """An entity of that kind."""
        whole = self.settings.documents // len(SLOTS)
        return rng.randrange(whole) * len(SLOTS) + rng.choice(_SLOTS_OF[kind])

    @cached_property
    def _entity(self) -> Callable[[int], Entity]:
        return lru_cache(maxsize=_REMEMBERED)(self._make_entity)

    @cached_property
    def _targets(self) -> Callable[[int], dict[str, int]]:
        return lru_cache(maxsize=_REMEMBERED)(self._make_targets)

    def _make_entity(self, number: int) -> Entity:
        settings = self.settings
        neighborhood, slot = divmod(number, len(SLOTS))
        about = KINDS[SLOTS[slot]]
        first = neighborhood * _WORDS_BEFORE[-1] + _WORDS_BEFORE[slot]
        words = [
            word(first + i, settings.split, settings.seed, settings.long_names) for i in range(about.words)
        ]
        if about.types:
            words.append(settings.random("type", number).choice(about.types))
        return Entity(number, SLOTS[slot], " ".join(words))

    def _make_targets(self, number: int) -> dict[str, int]:
        rng = self.settings.random("targets", number)
        return {
            name: self.draw(rng, RELATIONS[name].target, number) for name in RELATIONS_OF[self.kind(number)]
        }
