"""What the world is made of and how it is put into words: kinds, relations, asides and question forms.

In a template ``{x}`` is the entity that a document is about and ``{y}`` the target of a relation. Both are
filled with an entity's name, led by its article.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EntityKind:
    """A kind of entity."""

    count: int
    """How many of a neighborhood's entities are of this kind."""
    words: int
    """How many invented words make a name."""
    types: tuple[str, ...]
    """One of these closes the name; empty for none. A name with a type takes the article "the"."""
    pronouns: tuple[str, ...]
    asides: tuple[str, ...]
    """Sentences that state no relation; ``{person}``, ``{city}`` and so on name any entity of that kind."""
    asks: str
    """The question word for an entity of this kind."""
    namesakes: tuple[str, ...] = ("Old {x}", "New {x}", "Great {x}", "Little {x}")
    """What entities are called that are easily taken for {x}."""


KINDS = {
    "person": EntityKind(
        count=3,
        words=2,
        types=(),
        pronouns=("She", "He"),
        asides=(
            "{x} once travelled to {city}.",
            "{x} enjoys {hobby}.",
            "{x} is a friend of {person}.",
            "{x} praised {work} in {year}.",
            "{x} was honoured by {org}.",
        ),
        asks="Who",
        namesakes=("{x} the Elder", "{x} the Younger", "{x} the Tall", "{x} the Bold"),
    ),
    "city": EntityKind(
        count=2,
        words=1,
        types=(),
        pronouns=("It", "The city"),
        asides=(
            "{x} was visited by {person} in {year}.",
            "{x} is famous for {hobby}.",
            "{x} trades with {city}.",
            "{x} has a hall of {org}.",
        ),
        asks="What",
    ),
    "org": EntityKind(
        count=2,
        words=1,
        types=("Institute", "Guild", "Museum", "College", "Society", "Foundry"),
        pronouns=("It", "The organisation"),
        asides=(
            "{x} once honoured {person}.",
            "{x} holds a fair for {hobby} in {city}.",
            "{x} works with {org}.",
            "{x} is known all over {region}.",
        ),
        asks="What",
    ),
    "work": EntityKind(
        count=2,
        words=1,
        types=("Chronicle", "Ballad", "Atlas", "Elegy", "Codex"),
        pronouns=("It", "The work"),
        asides=(
            "{x} is about {hobby}.",
            "{x} mentions {person} and {city}.",
            "{x} is dedicated to {person}.",
            "{x} is read in {region}.",
        ),
        asks="What",
    ),
    "region": EntityKind(
        count=1,
        words=1,
        types=("Province", "Valley", "Coast", "Highlands"),
        pronouns=("It", "The region"),
        asides=(
            "{x} is famous for {hobby}.",
            "{x} was mapped by {person} in {year}.",
            "{x} borders {region}.",
            "{x} is home to {org}.",
        ),
        asks="What",
    ),
}

NAMESAKES = min(len(kind.namesakes) for kind in KINDS.values())
"""How many namesakes an entity can have."""

HOBBIES = ("chess", "fishing", "astronomy", "gardening", "music", "painting", "sailing", "poetry")


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation from an entity of one kind to one of another, stated in its source's document alone."""

    source: str
    target: str
    sentences: tuple[str, ...]
    phrases: tuple[str, ...]
    """Noun phrases for the target, given ``{x}``: questions are chains of these, and so are some queries."""
    keyword: str


RELATIONS = {
    "born": Relation(
        "person",
        "city",
        ("{x} was born in {y}.", "{x} came into the world in {y}.", "The birthplace of {x} is {y}."),
        ("the birthplace of {x}", "the city where {x} was born"),
        "birthplace",
    ),
    "employer": Relation(
        "person",
        "org",
        ("{x} works for {y}.", "{x} is employed by {y}.", "The employer of {x} is {y}."),
        ("the employer of {x}", "the organisation that employs {x}"),
        "employer",
    ),
    "teacher": Relation(
        "person",
        "person",
        ("{x} was taught by {y}.", "{x} is a pupil of {y}.", "The teacher of {x} is {y}."),
        ("the teacher of {x}", "the person who taught {x}"),
        "teacher",
    ),
    "region": Relation(
        "city",
        "region",
        ("{x} lies in {y}.", "{x} is a city of {y}.", "The region around {x} is {y}."),
        ("the region of {x}", "the region that contains {x}"),
        "region",
    ),
    "mayor": Relation(
        "city",
        "person",
        ("{x} is led by mayor {y}.", "{x} elected {y} as mayor.", "The mayor of {x} is {y}."),
        ("the mayor of {x}", "the person who governs {x}"),
        "mayor",
    ),
    "founder": Relation(
        "org",
        "person",
        ("{x} was founded by {y}.", "{x} was established by {y}.", "The founder of {x} is {y}."),
        ("the founder of {x}", "the person who established {x}"),
        "founder",
    ),
    "seat": Relation(
        "org",
        "city",
        ("{x} is based in {y}.", "{x} has its headquarters in {y}.", "The seat of {x} is {y}."),
        ("the seat of {x}", "the city where {x} is based"),
        "seat",
    ),
    "author": Relation(
        "work",
        "person",
        ("{x} was written by {y}.", "{x} is a work of {y}.", "The author of {x} is {y}."),
        ("the author of {x}", "the person who wrote {x}"),
        "author",
    ),
    "publisher": Relation(
        "work",
        "org",
        ("{x} was published by {y}.", "{x} was printed by {y}.", "The publisher of {x} is {y}."),
        ("the publisher of {x}", "the organisation that printed {x}"),
        "publisher",
    ),
    "capital": Relation(
        "region",
        "city",
        ("{x} has its capital at {y}.", "{x} is ruled from {y}.", "The capital of {x} is {y}."),
        ("the capital of {x}", "the city from which {x} is ruled"),
        "capital",
    ),
}

RELATIONS_OF = {
    kind: tuple(name for name, relation in RELATIONS.items() if relation.source == kind) for kind in KINDS
}

DATED = {
    "org": ("{x} was opened in {year}.", "The doors of {x} first opened in {year}."),
    "work": ("{x} appeared in {year}.", "The first copies of {x} appeared in {year}."),
}
"""The kinds that have a year, and how their documents state it."""

BRIDGE_FORMS = ("{asks} is {chain}?", "Name {chain}.", "Tell me {chain}.")
COMPARISON_FORMS = ("Which is older, {a} or {b}?", "Which came first, {a} or {b}?")
WHICH_FORMS = {
    "founder": "Which was founded by {y}, {a} or {b}?",
    "seat": "Which is based in {y}, {a} or {b}?",
    "author": "Which was written by {y}, {a} or {b}?",
    "publisher": "Which was published by {y}, {a} or {b}?",
}
QUERY_FORMS = ("{name} {keyword}", "{phrase}", "what is {phrase}", "{name}")
"""How an expert words a search: never one way alone, so that a reader meets paraphrases."""


LATEST = " (Where documents differ, the latest date counts.)"
"""What ends every question of a world in which documents contradict each other."""


def with_article(kind: str, name: str) -> str:
    """The name as it stands in a sentence."""
    return f"the {name}" if KINDS[kind].types else name


def sentence(form: str, x: str, named: bool, filling: Mapping[str, str], date: int | None = None) -> str:
    """A sentence by its form, about ``x``: a name (``named``) or a pronoun. With a date it begins with it.

    >>> sentence("{x} lies in {y}.", "It", False, {"y": "the Ferhus Highlands"}, 1950)
    'As of 1950, it lies in the Ferhus Highlands.'
    """
    text = form.format(x=x, **filling)
    if date is None:
        return capitalized(text)
    if not (named and form.startswith("{x}")):
        text = text[:1].lower() + text[1:]
    return f"As of {date}, {text}"


def capitalized(sentence: str) -> str:
    """The sentence with a capital first letter; the rest stays as it is."""
    return sentence[:1].upper() + sentence[1:]
