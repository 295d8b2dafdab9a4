"""What is written in a world: the document of each entity, and those that are like it and not it.

An entity's document states its facts among asides. Beside it there may be a former document of the same
entity, and documents of namesakes, whose ids are the entity's number and a word: ``12/former``,
``12/namesake-1``. A document's "See also" names what is two relations away, or with 1 - ``coupling`` anything
of its kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from random import Random

from igpo_gym.data.world import language
from igpo_gym.data.world.facts import Facts
from igpo_gym.data.world.language import DATED, KINDS, RELATIONS, RELATIONS_OF
from igpo_gym.episode import Passage


def about(passage_id: str) -> int:
    """The number of the entity that a document is about, or whose namesake's it is.

    >>> about("12"), about("12/namesake-1")
    (12, 12)
    """
    return int(passage_id.partition("/")[0])


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of a world, each a function of the seed and an entity's number."""

    facts: Facts

    def passage(self, number: int) -> Passage:
        """The document about entity ``number``: its facts and some asides, 3 to 6 sentences."""
        return Passage(str(number), self.facts.entity(number).name, _text(self._current(number)))

    def former(self, number: int) -> Passage | None:
        """The former document of an entity, if it has one: every relation has another target in it."""
        dates = self.facts.dates(number)
        if dates is None:
            return None
        rng, entity = self.facts.settings.random("former", number), self.facts.entity(number)
        stated = self._others(rng, number)
        sentences = self._sentences(rng, number, entity.phrase, stated, dates.former)
        return Passage(f"{number}/former", f"{entity.name} ({dates.former})", _text(sentences))

    def namesake(self, number: int, which: int) -> Passage:
        """The document of a namesake of entity ``number``, counted from 1."""
        rng, entity = self.facts.settings.random(f"namesake-{which}", number), self.facts.entity(number)
        name = KINDS[entity.kind].namesakes[which - 1].format(x=entity.name)
        stated = self._others(rng, number, of_namesake=True)
        if (year := self.facts.year(number)) is not None:
            stated["year"] = str(rng.choice([other for other in range(1500, 1900, 10) if other != year]))
        phrase = language.with_article(entity.kind, name)
        return Passage(
            f"{number}/namesake-{which}", name, _text(self._sentences(rng, number, phrase, stated, None))
        )

    def statement(self, number: int, relation: str) -> str:
        """The sentence in which the document of entity ``number`` states a relation, or the "year"; the whole
        document where it states none."""
        sentences = self._current(number)
        return next((text for what, text in sentences if what == relation), _text(sentences))

    def all(self) -> Iterator[Passage]:
        """All documents, one at a time: those of the entities, former ones, and those of namesakes."""
        settings = self.facts.settings
        numbers = range(settings.documents)
        formers = (self.former(number) for number in (numbers if settings.outdated else ()))
        namesakes = (
            self.namesake(number, which)
            for number in (numbers if settings.distractors else ())
            for which in range(1, settings.distractors + 1)
        )
        return chain(map(self.passage, numbers), (each for each in formers if each is not None), namesakes)

    def _current(self, number: int) -> list[tuple[str, str]]:
        facts, dates = self.facts, self.facts.dates(number)
        stated = {
            relation: " and ".join(facts.entity(each).phrase for each in facts.values(number, relation))
            for relation in RELATIONS_OF[facts.kind(number)]
            if facts.state(number, relation) != "withheld"
        }
        if (year := facts.year(number)) is not None:
            stated["year"] = str(year)
        rng = facts.settings.random("passage", number)
        date = dates.current if dates else None
        return self._sentences(rng, number, facts.entity(number).phrase, stated, date)

    def _others(self, rng: Random, number: int, of_namesake: bool = False) -> dict[str, str]:
        """What another document states of an entity's relations. What no document says of the entity itself,
        only one about a namesake may."""
        facts = self.facts
        return {
            relation: facts.entity(facts.other(rng, number, relation)).phrase
            for relation in RELATIONS_OF[facts.kind(number)]
            if of_namesake or facts.state(number, relation) != "withheld"
        }

    def _sentences(
        self, rng: Random, number: int, phrase: str, stated: Mapping[str, str], date: int | None
    ) -> list[tuple[str, str]]:
        """The sentences of a document in order, each with the relation that it states, "year", or ""."""
        kind = self.facts.kind(number)
        parts = [
            (what, rng.choice(DATED[kind] if what == "year" else RELATIONS[what].sentences), value)
            for what, value in stated.items()
        ]
        contents = [(what, form, {"year" if what == "year" else "y": value}) for what, form, value in parts]
        length = rng.randint(max(3, len(contents) + 1), 5 if rng.random() < 0.8 else 6) - 1
        about = KINDS[kind]
        asides = rng.sample(about.asides, max(0, min(length - len(contents), len(about.asides))))
        contents += [("", aside, self._passing_mentions(rng, number)) for aside in asides]
        rng.shuffle(contents)
        pronouns = (rng.choice(about.pronouns),) if kind == "person" else about.pronouns
        sentences = []
        for place, (what, form, filling) in enumerate(contents):
            named = place == 0 or not form.startswith("{x}") or rng.random() < 0.35
            dated = date if what in RELATIONS else None
            x = phrase if named else rng.choice(pronouns)
            sentences.append((what, language.sentence(form, x, named, filling, dated)))
        return [*sentences, ("", self._see_also(rng, number))]

    def _passing_mentions(self, rng: Random, number: int) -> dict[str, str]:
        facts = self.facts
        mentions = {kind: facts.entity(facts.draw(rng, kind, number)).phrase for kind in KINDS}
        return mentions | {"hobby": rng.choice(language.HOBBIES), "year": str(10 * rng.randrange(150, 190))}

    def _see_also(self, rng: Random, number: int) -> str:
        facts = self.facts
        further = [t for near in facts.targets(number).values() for t in facts.targets(near).values()]
        further = [t for t in dict.fromkeys(further) if t != number]
        named = [
            t if rng.random() < facts.settings.coupling else facts.anywhere(rng, facts.kind(t))
            for t in rng.sample(further, min(3, len(further)))
        ]
        *names, last = (facts.entity(t).phrase for t in named)
        return f"See also {', '.join(names)} and {last}." if names else f"See also {last}."


def _text(sentences: list[tuple[str, str]]) -> str:
    return " ".join(text for _, text in sentences)
