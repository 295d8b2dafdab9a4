"""The world itself: who is related to whom, the documents that say so, and the questions about them.

A world is a function of its settings: every entity's facts and document follow from the seed and the entity's
number, so a world of a million documents is written without ever being held.

Entities live in neighborhoods of ten. Each target of a relation, and each entity that a document mentions
in passing, comes from the neighborhood with probability ``coupling`` and from anywhere otherwise; likewise a
document's "See also" names what is two relations away. So with coupling the documents of a hop name the
entities that the answer is likely to be among, and every hop informs. Without coupling they do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from random import Random
from typing import Any

from igpo_gym.data.flaws import Flaws
from igpo_gym.data.world import language
from igpo_gym.data.world.language import DATED, KINDS, RELATIONS, RELATIONS_OF
from igpo_gym.data.world.names import SPLITS, word
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import SpecError

SLOTS = tuple(kind for kind, about in KINDS.items() for _ in range(about.count))
"""The kind of each entity of a neighborhood."""

SMALLEST = 2 * len(SLOTS)
"""The fewest documents that a world may have."""

LARGEST = 10_000_000

_SLOTS_OF = {kind: tuple(slot for slot, k in enumerate(SLOTS) if k == kind) for kind in KINDS}
_WORDS_BEFORE = tuple(sum(KINDS[kind].words for kind in SLOTS[:slot]) for slot in range(len(SLOTS) + 1))
_CHOICE_SHARE = 0.15
"""The share of comparison and which-of questions, where two hops are allowed."""

_REMEMBERED = 65_536
"""How many entities are kept rather than derived again; bounds the memory of a stream."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity. ``number`` is its place in the corpus and, as text, its passage's id."""

    number: int
    kind: str
    name: str

    @property
    def phrase(self) -> str:
        """The name as it stands in a sentence."""
        return language.with_article(self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Chain:
    """A bridge question's path: ``relations[i]`` leads from ``entities[i]`` to ``entities[i + 1]``."""

    entities: tuple[int, ...]
    relations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A question about two entities, one of which is the answer: by year, or by a relation's target."""

    options: tuple[int, int]
    relation: str
    """The relation, or "year"."""
    answer: int


@dataclass(frozen=True, slots=True)
class Lead:
    """A fact to look up, in words: whose, which, and noun phrases for the two together."""

    name: str
    keyword: str
    phrases: tuple[str, ...]


_TRIES, _CHOICE_TRIES = 10_000, 100
"""How often a question is drawn anew before a world is called too small for it, and how often a choice is
drawn before it is given another relation: in a small world all may have the same."""


_DIALS_FROM = 6
"""The place of the first field of World that stands in ``code`` only where it is not the default."""


@dataclass(frozen=True)
class World:
    """A generated world. Raises SpecError for settings outside their range.

    >>> world = World(documents=60, questions=20, hops=(2, 2), split="test")
    >>> world.documents, world.hops
    (60, (2, 2))
    """

    documents: int = 500
    """How many entities, and documents, from 40 to ten million."""
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
    shown: int | None = None
    """How many sentences of a document a search shows; the tool ``open`` shows the rest. None for all."""

    def __post_init__(self) -> None:
        low, high = self.hops
        for ok, problem in (
            (SMALLEST <= self.documents <= LARGEST, f"documents must be {SMALLEST} to {LARGEST}"),
            (self.questions >= 1, "questions must be at least 1"),
            (1 <= low <= high <= 4, "hops must be a number or a range within 1-4, such as 2-3"),
            (0.0 <= self.coupling <= 1.0, "coupling must be a number from 0 to 1"),
            (self.seed >= 0, "seed must not be negative"),
            (0.0 <= self.long_names <= 1.0, "long_names must be a share from 0 to 1"),
            (self.split in SPLITS, f"split must be one of: {', '.join(SPLITS)}"),
        ):
            if not ok:
                raise SpecError(f"{problem} in a generated world")
        _ = self.flaws  # which checks its own

    # Entities and their facts, each a function of the seed and the entity's number.

    def entity(self, number: int) -> Entity:
        """The entity with that number, from 0 to ``documents - 1``."""
        return self._entity(number)

    def targets(self, number: int) -> dict[str, int]:
        """The entities that the relations of entity ``number`` lead to, by the relation's name."""
        return self._targets(number)

    def year(self, number: int) -> int | None:
        """The year of an entity whose kind has one, a multiple of ten from 1500 to 1890."""
        return self._year(number) if self._kind(number) in DATED else None

    def _year(self, number: int) -> int:
        return 10 * self._random("year", number).randrange(150, 190)

    @cached_property
    def _entity(self) -> Callable[[int], Entity]:
        return lru_cache(maxsize=_REMEMBERED)(self._make_entity)

    @cached_property
    def _targets(self) -> Callable[[int], dict[str, int]]:
        return lru_cache(maxsize=_REMEMBERED)(self._make_targets)

    def _make_entity(self, number: int) -> Entity:
        neighborhood, slot = divmod(number, len(SLOTS))
        about = KINDS[SLOTS[slot]]
        first = neighborhood * _WORDS_BEFORE[-1] + _WORDS_BEFORE[slot]
        words = [word(first + i, self.split, self.seed, self.long_names) for i in range(about.words)]
        if about.types:
            words.append(self._random("type", number).choice(about.types))
        return Entity(number, SLOTS[slot], " ".join(words))

    def _make_targets(self, number: int) -> dict[str, int]:
        rng = self._random("targets", number)
        return {
            name: self._draw(rng, RELATIONS[name].target, number) for name in RELATIONS_OF[self._kind(number)]
        }

    def _kind(self, number: int) -> str:
        return SLOTS[number % len(SLOTS)]

    def _draw(self, rng: Random, kind: str, beside: int) -> int:
        """Another entity of that kind, from the neighborhood of ``beside`` as often as ``coupling`` says."""
        whole = self.documents // len(SLOTS)
        home = beside // len(SLOTS)
        near = (
            rng.random() < self.coupling
            and home < whole
            and any(home * len(SLOTS) + slot != beside for slot in _SLOTS_OF[kind])
        )
        while True:
            number = home * len(SLOTS) + rng.choice(_SLOTS_OF[kind]) if near else self._anywhere(rng, kind)
            if number != beside:
                return number

    def _anywhere(self, rng: Random, kind: str) -> int:
        return rng.randrange(self.documents // len(SLOTS)) * len(SLOTS) + rng.choice(_SLOTS_OF[kind])

    def _random(self, purpose: str, number: int) -> Random:
        # Seeded by text: the same on every machine and Python, unlike hash().
        return Random(f"{self.split}/{self.seed}/{purpose}/{number}")

    # Documents.

    def passage(self, number: int) -> Passage:
        """The document about entity ``number``: its facts and some asides, 3 to 6 sentences."""
        return Passage(
            str(number), self.entity(number).name, " ".join(text for _, text in self._sentences(number))
        )

    def statement(self, number: int, relation: str) -> str:
        """The sentence in which the document of entity ``number`` states a relation, or the "year"."""
        return next(text for what, text in self._sentences(number) if what == relation)

    def _sentences(self, number: int) -> list[tuple[str, str]]:
        """The sentences of a document in order, each with the relation that it states, "year", or ""."""
        entity = self.entity(number)
        about = KINDS[entity.kind]
        rng = self._random("passage", number)
        stated = [
            (name, rng.choice(RELATIONS[name].sentences), {"y": self.entity(target).phrase})
            for name, target in self.targets(number).items()
        ]
        if (year := self.year(number)) is not None:
            stated.append(("year", rng.choice(DATED[entity.kind]), {"year": str(year)}))
        length = rng.randint(max(3, len(stated) + 1), 5 if rng.random() < 0.8 else 6) - 1
        asides = rng.sample(about.asides, max(0, min(length - len(stated), len(about.asides))))
        stated += [("", aside, self._passing_mentions(rng, number)) for aside in asides]
        rng.shuffle(stated)
        pronouns = (rng.choice(about.pronouns),) if entity.kind == "person" else about.pronouns
        sentences = []
        for place, (what, template, filling) in enumerate(stated):
            named = place == 0 or not template.startswith("{x}") or rng.random() < 0.35
            x = entity.phrase if named else rng.choice(pronouns)
            sentences.append((what, language.capitalized(template.format(x=x, **filling))))
        return [*sentences, ("", self._see_also(rng, number))]

    def _passing_mentions(self, rng: Random, number: int) -> dict[str, str]:
        mentions = {kind: self.entity(self._draw(rng, kind, number)).phrase for kind in KINDS}
        return mentions | {"hobby": rng.choice(language.HOBBIES), "year": str(10 * rng.randrange(150, 190))}

    def _see_also(self, rng: Random, number: int) -> str:
        """A sentence that names what is two relations away, or with 1 - ``coupling`` anything of its kind."""
        further = [t for near in self.targets(number).values() for t in self.targets(near).values()]
        further = [t for t in dict.fromkeys(further) if t != number]
        named = [
            t if rng.random() < self.coupling else self._anywhere(rng, self._kind(t))
            for t in rng.sample(further, min(3, len(further)))
        ]
        *names, last = (self.entity(t).phrase for t in named)
        return f"See also {', '.join(names)} and {last}." if names else f"See also {last}."

    def passages(self) -> Iterator[Passage]:
        """All documents, in order, one at a time."""
        return map(self.passage, range(self.documents))

    # Questions.

    @cached_property
    def code(self) -> str:
        """Eight hex digits for all that decides what question n of a world is: all settings but how many.

        Worlds that differ in it share no question id. It stands at the head of the ids.

        >>> World(seed=1).code == World(seed=1, questions=9).code != World(seed=2).code
        True
        """
        low, high = self.hops
        settings = f"{self.split}/{self.documents}/{low}-{high}/{float(self.coupling)!r}/{self.seed}"
        settings += "".join(f"/{name}={value!r}" for name, value in self.dials.items())
        return hashlib.sha256(settings.encode()).hexdigest()[:8]

    @property
    def dials(self) -> dict[str, Any]:
        """The settings beyond size, hops, coupling, seed and split that are not the default ones, by name.

        >>> World(shown=2).dials
        {'shown': 2}
        """
        later = fields(self)[_DIALS_FROM:]
        values = {each.name: getattr(self, each.name) for each in later}
        return {each.name: values[each.name] for each in later if values[each.name] != each.default}

    @property
    def flaws(self) -> Flaws:
        """What the search of this world lacks."""
        return Flaws(self.shown)

    def number(self, question: Question) -> int:
        """The number of a question of this world. Raises SpecError for one of another world."""
        world, _, name = question.id.partition("/")
        number = name.rpartition("-")[2]
        if world != f"w{self.code}" or not number.isdecimal():
            raise SpecError(
                f"question {question.id!r} is of another world: ids of this one begin with 'w{self.code}/'"
            )
        return int(number)

    def plan(self, number: int) -> Chain | Choice:
        """What question ``number`` is about. Its draws are independent of every other question's."""
        return self._plan(number, self._random("question", number))

    def _plan(self, number: int, rng: Random) -> Chain | Choice:
        hops = rng.randint(*self.hops)
        choice = hops == 2 and rng.random() < _CHOICE_SHARE * (self.hops[1] - self.hops[0] + 1)
        for _ in range(_TRIES):
            if (plan := self._choice(rng) if choice else self._chain(rng, hops)) is not None:
                return plan
        raise SpecError(
            f"a world of {self.documents} documents has no question of {hops} hops; take more documents"
        )

    def _chain(self, rng: Random, hops: int) -> Chain | None:
        entities, relations = [rng.randrange(self.documents)], list[str]()
        for _ in range(hops):
            name = rng.choice(RELATIONS_OF[self._kind(entities[-1])])
            target = self.targets(entities[-1])[name]
            if name in relations or target in entities:
                return None
            relations.append(name)
            entities.append(target)
        return Chain(tuple(entities), tuple(relations))

    def _choice(self, rng: Random) -> Choice | None:
        relation = "year" if rng.random() < 0.5 else rng.choice(tuple(language.WHICH_FORMS))
        kind = rng.choice(tuple(DATED)) if relation == "year" else RELATIONS[relation].source
        for _ in range(_CHOICE_TRIES):
            a = self._anywhere(rng, kind)
            b = self._draw(rng, kind, a)
            first, second = self._value(a, relation), self._value(b, relation)
            if first != second:
                older = a if first < second else b
                return Choice((a, b), relation, older if relation == "year" else rng.choice((a, b)))
        return None

    def _value(self, number: int, relation: str) -> int:
        return self._year(number) if relation == "year" else self.targets(number)[relation]

    def question(self, number: int) -> Question:
        """Question ``number``, from 0 to ``questions - 1``; its id is ``w<code>/<kind>-<number>``."""
        rng = self._random("question", number)
        plan = self._plan(number, rng)
        if isinstance(plan, Chain):
            text = self._bridge_text(rng, plan)
            evidence, answer, kind = plan.entities[:-1], plan.entities[-1], "bridge"
        else:
            text = self._choice_text(rng, plan)
            evidence, answer = plan.options, plan.answer
            kind = "comparison" if plan.relation == "year" else "which"
        return Question(
            id=f"w{self.code}/{kind}-{number}",
            text=text,
            answers=(self.entity(answer).name,),
            evidence=tuple(map(str, evidence)),
            hops=len(evidence),
            source="world",
            evidence_texts=tuple(self.statement(*fact) for fact in self._facts(plan)) if self.shown else (),
        )

    def _bridge_text(self, rng: Random, plan: Chain) -> str:
        chain = self.entity(plan.entities[0]).phrase
        for name in plan.relations:
            chain = rng.choice(RELATIONS[name].phrases).format(x=chain)
        asks = KINDS[self._kind(plan.entities[-1])].asks
        return rng.choice(language.BRIDGE_FORMS).format(asks=asks, chain=chain)

    def _choice_text(self, rng: Random, plan: Choice) -> str:
        a, b = (self.entity(option).phrase for option in plan.options)
        if plan.relation == "year":
            return rng.choice(language.COMPARISON_FORMS).format(a=a, b=b)
        y = self.entity(self.targets(plan.answer)[plan.relation]).phrase
        return language.WHICH_FORMS[plan.relation].format(y=y, a=a, b=b)

    def leads(self, number: int) -> tuple[Lead, ...]:
        """What has to be looked up for question ``number``, hop by hop."""
        return tuple(self.lead(*fact) for fact in self._facts(self.plan(number)))

    def _facts(self, plan: Chain | Choice) -> list[tuple[int, str]]:
        """The facts that decide a question: whose, and which relation, or "year"."""
        if isinstance(plan, Choice):
            return [(option, plan.relation) for option in plan.options]
        return list(zip(plan.entities, plan.relations, strict=False))

    def lead(self, number: int, relation: str) -> Lead:
        """How to ask for one relation, or the "year", of entity ``number``."""
        entity = self.entity(number)
        if relation == "year":
            return Lead(entity.name, "year", (f"the year of {entity.phrase}",))
        about = RELATIONS[relation]
        return Lead(entity.name, about.keyword, tuple(p.format(x=entity.phrase) for p in about.phrases))

    def all_questions(self) -> Iterator[Question]:
        """All questions, in order, one at a time."""
        return map(self.question, range(self.questions))
