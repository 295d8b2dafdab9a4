"""The world itself: its settings, the facts and documents that follow from them, and the questions.

A world is a function of its settings: every entity's facts and documents follow from the seed and the
entity's number, so a world of a million documents is written without ever being held.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random

from igpo_gym.data.answers import HINT, UNANSWERABLE
from igpo_gym.data.world import language
from igpo_gym.data.world.dials import WorldSettings
from igpo_gym.data.world.documents import Documents
from igpo_gym.data.world.facts import Entity, Facts, State
from igpo_gym.data.world.language import DATED, KINDS, RELATIONS, RELATIONS_OF
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import SpecError

_CHOICE_SHARE = 0.15
"""The share of comparison and which-of questions, where two hops are allowed."""

_TRIES, _CHOICE_TRIES = 10_000, 100
"""How often a question is drawn anew before a world is called too small for it, and how often a choice is
drawn before it is given another relation: in a small world all may have the same."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A bridge question's path: ``relations[i]`` leads from ``entities[i]`` to ``entities[i + 1]``."""

    entities: tuple[int, ...]
    relations: tuple[str, ...]

    @property
    def facts(self) -> tuple[tuple[int, str], ...]:
        """The facts that decide it, hop by hop: whose, and which relation."""
        return tuple(zip(self.entities, self.relations, strict=False))


@dataclass(frozen=True, slots=True)
class Choice:
    """A question about two entities, one of which is the answer: by year, or by a relation's target."""

    options: tuple[int, int]
    relation: str
    """The relation, or "year"."""
    answer: int

    @property
    def facts(self) -> tuple[tuple[int, str], ...]:
        """The facts that decide it: whose, and which relation, or "year"."""
        return tuple((option, self.relation) for option in self.options)


@dataclass(frozen=True, slots=True)
class Lead:
    """A fact to look up, in words: whose, which, and noun phrases for the two together."""

    name: str
    keyword: str
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class World(WorldSettings):
    """A generated world: its settings, and what follows from them.

    >>> world = World(documents=60, questions=20, hops=(2, 2), split="test")
    >>> world.documents, world.hops
    (60, (2, 2))
    """

    @cached_property
    def facts(self) -> Facts:
        """Who is related to whom."""
        return Facts(self)

    @cached_property
    def texts(self) -> Documents:
        """The documents that say so."""
        return Documents(self.facts)

    def entity(self, number: int) -> Entity:
        """The entity with that number, from 0 to ``documents - 1``."""
        return self.facts.entity(number)

    def targets(self, number: int) -> dict[str, int]:
        """The entities that the relations of entity ``number`` lead to, by the relation's name."""
        return self.facts.targets(number)

    def year(self, number: int) -> int | None:
        """The year of an entity whose kind has one."""
        return self.facts.year(number)

    def passage(self, number: int) -> Passage:
        """The document about entity ``number``."""
        return self.texts.passage(number)

    def passages(self) -> Iterator[Passage]:
        """All documents, one at a time."""
        return self.texts.all()

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
        return self._plan(number, self.random("question", number))

    def _plan(self, number: int, rng: Random) -> Chain | Choice:
        hops, asked = rng.randint(*self.hops), self._asked(number)
        choice = hops == 2 and rng.random() < _CHOICE_SHARE * (self.hops[1] - self.hops[0] + 1)
        for _ in range(_TRIES):
            plan = self._choice(rng) if choice and asked == "single" else self._chain(rng, hops, asked)
            if plan is not None:
                return plan
        raise SpecError(
            f"a world of {self.documents} documents has no question of {hops} hops; take more documents"
        )

    def _asked(self, number: int) -> State:
        """What is known of the last fact of a question."""
        if not (self.several or self.unanswerable):
            return "single"
        drawn = self.random("asked", number).random()
        if drawn < self.unanswerable:
            return "withheld"
        return "several" if drawn < self.unanswerable + self.several else "single"

    def _chain(self, rng: Random, hops: int, asked: State) -> Chain | None:
        entities, relations = [rng.randrange(self.documents)], list[str]()
        for hop in range(hops):
            name = rng.choice(RELATIONS_OF[self.facts.kind(entities[-1])])
            reached = self.facts.values(entities[-1], name)
            state = self.facts.state(entities[-1], name)
            if state != (asked if hop == hops - 1 else "single") or name in relations:
                return None
            if not set(entities).isdisjoint(reached):  # one of several answers, too, must not be named before
                return None
            relations.append(name)
            entities.append(reached[0])
        return Chain(tuple(entities), tuple(relations))

    def _choice(self, rng: Random) -> Choice | None:
        relation = "year" if rng.random() < 0.5 else rng.choice(tuple(language.WHICH_FORMS))
        kind = rng.choice(tuple(DATED)) if relation == "year" else RELATIONS[relation].source
        for _ in range(_CHOICE_TRIES):
            a = self.facts.anywhere(rng, kind)
            b = self.facts.draw(rng, kind, a)
            first, second = self._value(a, relation), self._value(b, relation)
            known = all(self.facts.state(option, relation) == "single" for option in (a, b))
            if known and first != second:
                older = a if first < second else b
                return Choice((a, b), relation, older if relation == "year" else rng.choice((a, b)))
        return None

    def _value(self, number: int, relation: str) -> int:
        return (self.year(number) or 0) if relation == "year" else self.targets(number)[relation]

    def question(self, number: int) -> Question:
        """Question ``number``, from 0 to ``questions - 1``; its id is ``w<code>/<kind>-<number>``."""
        rng = self.random("question", number)
        plan = self._plan(number, rng)
        if isinstance(plan, Chain):
            text, kind = self._bridge_text(rng, plan), "bridge"
        else:
            text, kind = self._choice_text(rng, plan), "comparison" if plan.relation == "year" else "which"
        hints = language.LATEST * bool(self.outdated) + HINT * bool(self.unanswerable)
        return Question(
            id=f"w{self.code}/{kind}-{number}",
            text=text + hints,
            answers=self._answers(plan),
            evidence=tuple(str(whose) for whose, _ in plan.facts),
            hops=len(plan.facts),
            source="world",
            evidence_texts=tuple(self.texts.statement(*fact) for fact in plan.facts) if self.shown else (),
        )

    def _answers(self, plan: Chain | Choice) -> tuple[str, ...]:
        if isinstance(plan, Choice):
            return (self.entity(plan.answer).name,)
        if self.facts.state(*plan.facts[-1]) == "withheld":
            return UNANSWERABLE
        return tuple(self.entity(each).name for each in self.facts.values(*plan.facts[-1]))

    def _bridge_text(self, rng: Random, plan: Chain) -> str:
        chain = self.entity(plan.entities[0]).phrase
        for name in plan.relations:
            chain = rng.choice(RELATIONS[name].phrases).format(x=chain)
        asks = KINDS[self.facts.kind(plan.entities[-1])].asks
        return rng.choice(language.BRIDGE_FORMS).format(asks=asks, chain=chain)

    def _choice_text(self, rng: Random, plan: Choice) -> str:
        a, b = (self.entity(option).phrase for option in plan.options)
        if plan.relation == "year":
            return rng.choice(language.COMPARISON_FORMS).format(a=a, b=b)
        y = self.entity(self.targets(plan.answer)[plan.relation]).phrase
        return language.WHICH_FORMS[plan.relation].format(y=y, a=a, b=b)

    def leads(self, number: int) -> tuple[Lead, ...]:
        """What has to be looked up for question ``number``, hop by hop."""
        return tuple(self.lead(*fact) for fact in self.plan(number).facts)

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
