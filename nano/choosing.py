"""The lessons of choices: to find an entity by what is said of it, the oldest of some, and one of two.

A reader goes from an entity to what is said of it, and a choice goes the other way. That is learned in steps,
and in none by itself: from sentences that say the value first, then from those that name the entity first,
then among years, and then from documents, with the question ahead of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from random import Random
from typing import TypeAlias

from igpo_gym.agents.policies.scripted import Knowledge
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world import World
from igpo_gym.data.world.generator import Choice, Lead
from igpo_gym.data.world.language import (
    COMPARISON_FORMS,
    DATED,
    RELATIONS,
    WHICH_FORMS,
    capitalized,
)
from igpo_gym.protocols import TAGS
from nano.presenting import Arrangement, stated
from nano.rows import ANSWER, TEXT, Encoder, Part, Row

TURNED = {
    "year": ("In {y} came {x}.", "In {y}, {x} was new."),
    "founder": ("{y} founded {x}.", "{y} is the founder of {x}."),
    "seat": ("{y} is the seat of {x}.", "{y} is home to {x}."),
    "author": ("{y} wrote {x}.", "{y} is the author of {x}."),
    "publisher": ("{y} published {x}.", "{y} is the publisher of {x}."),
}
"""Sentences that say the value first, by relation or "year"."""

_BY_YEAR = ("Which is from {y}?", "Which appeared in {y}?")

_Values: TypeAlias = dict[int, str]
"""What is said of each of some entities, in words."""


def pair_rows(
    world: World,
    encode: Encoder,
    rng: Random,
    rows: int,
    turned: float,
    ask: Sequence[str],
) -> list[Row]:
    """The year, or one relation, of two to four entities in a sentence each, then what ``ask`` names.

    A share ``turned`` of the sentences says the value first. ``ask`` are keys of ``QUESTIONS``.
    """
    out = []
    for _ in range(rows):
        relation, values = _drawn(world, rng, years=0.5)
        numbers = list(values)
        rng.shuffle(numbers)
        text = " ".join(
            _said(world, rng, relation, number, values[number], rng.random() < turned) for number in numbers
        )
        row = encode.row()
        row.add(encode(TAGS.reply_text(text)), TEXT, Part.TEXT)
        for name in ask:
            for question, answer, part in QUESTIONS[name](world, rng, relation, values):
                target = encode.answer(world.entity(answer).name)
                row.branch(encode(question) + encode.prefix, target, 1.0, part)
        out.append(row)
    return out


def asked_rows(world: World, encode: Encoder, rng: Random, rows: int) -> list[Row]:
    """As pair rows, but a question stands ahead of what is said: sentences, or documents that say little.

    Read after its question, a name can be known for one that was asked for: what a choice between two of more
    needs.
    """
    out: list[Row] = []
    while len(out) < rows:
        relation, values = _drawn(world, rng, years=0.6)
        asked = QUESTIONS[rng.choice(tuple(QUESTIONS))](world, rng, relation, values)
        if not asked:
            continue
        question, answer, part = rng.choice(asked)
        numbers = list(values)
        rng.shuffle(numbers)
        if rng.random() < 0.5:
            names = {str(number): value.removeprefix("the ") for number, value in values.items()}
            short = Arrangement(names, rng, brief=True, shuffle=False)
            text = TAGS.passages(short([world.passage(number) for number in numbers]))
        else:
            text = " ".join(_said(world, rng, relation, number, values[number], False) for number in numbers)
        row = encode.row()
        row.add(encode(f"Question: {question}\n"), TEXT, Part.TEXT)
        row.add(encode(TAGS.reply_text(text)), TEXT, Part.TEXT)
        row.branch(encode.prefix, encode.answer(world.entity(answer).name), 1.0, part)
        out.append(row)
    return out


def _drawn(world: World, rng: Random, years: float) -> tuple[str, _Values]:
    """A relation, or with a chance of ``years`` "year", and some entities whose values of it differ."""
    relation = "year" if rng.random() < years else rng.choice(tuple(WHICH_FORMS))
    count = rng.randint(2, 4)
    kind = rng.choice(tuple(DATED)) if relation == "year" else RELATIONS[relation].source
    found: _Values = {}
    for _ in range(50 * count):
        number = world.facts.anywhere(rng, kind)
        if relation == "year":
            value = str(world.year(number))
        else:
            value = world.entity(world.targets(number)[relation]).phrase
        if number not in found and value not in found.values():
            found[number] = value
        if len(found) == count:
            break
    return relation, found


def _said(world: World, rng: Random, relation: str, number: int, value: str, turned: bool) -> str:
    entity = world.entity(number)
    if turned:
        form = rng.choice(TURNED[relation])
    elif relation == "year":
        form = rng.choice(DATED[entity.kind]).replace("{year}", "{y}")
    else:
        form = rng.choice(RELATIONS[relation].sentences)
    return capitalized(form.format(x=entity.phrase, y=value))


_Asked: TypeAlias = tuple[str, int, Part]
"""A question, the number of the entity that answers it, and its part."""


def _backward(world: World, rng: Random, relation: str, values: _Values) -> list[_Asked]:
    """Each entity, by what is said of it."""
    forms = _BY_YEAR if relation == "year" else (WHICH_FORMS[relation].partition(",")[0] + "?",)
    return [(rng.choice(forms).format(y=value), number, Part.BACKWARD) for number, value in values.items()]


def _oldest(world: World, rng: Random, relation: str, values: _Values) -> list[_Asked]:
    """The one with the earliest year."""
    if relation != "year":
        return []
    form = rng.choice(COMPARISON_FORMS).partition(",")[0] + "?"
    return [(form, min(values, key=lambda number: int(values[number])), Part.OLDEST)]


def _choice(world: World, rng: Random, relation: str, values: _Values) -> list[_Asked]:
    """One of two of them, as the world asks."""
    pair = rng.sample(list(values), 2)
    a, b = (world.entity(number).phrase for number in pair)
    if relation == "year":
        form, answer = rng.choice(COMPARISON_FORMS), min(pair, key=lambda number: int(values[number]))
    else:
        form, answer = WHICH_FORMS[relation], rng.choice(pair)
    return [(form.format(y=values[answer], a=a, b=b), answer, Part.CHOICE)]


QUESTIONS: dict[str, Callable[[World, Random, str, _Values], list[_Asked]]] = {
    "backward": _backward,
    "oldest": _oldest,
    "choice": _choice,
}
"""What can be asked of a pair row."""


def choice_rows(world: World, encode: Encoder, rng: Random, rows: int, searched: float = 0.0) -> list[Row]:
    """Comparison and which-of questions, each with the two documents that decide it, mostly shortened.

    Chains never ask for an order of years, and transcripts with such questions are few and long. A share
    ``searched`` is a transcript in small: a search for each document, which brings others with it.
    """
    asked = replace(world, questions=20 * rows, hops=(2, 2))
    numbers = (number for number in range(asked.questions) if isinstance(asked.plan(number), Choice))
    know = Knowledge(QuestionSet("", ()), TAGS)
    out = []
    for number in islice(numbers, rows):
        question = asked.question(number)
        arrange = Arrangement(
            stated(asked, question), rng, brief=rng.random() < 0.8, shuffle=not searched or rng.random() < 0.3
        )
        row = encode.row()
        row.add(encode(TAGS.prompt(question)[-1].text), TEXT, Part.TEXT)
        facts = list(asked.plan(number).facts)
        turns: list[tuple[Lead | None, list[int]]]
        if rng.random() < searched:
            rng.shuffle(facts)
            turns = [
                (asked.lead(*fact), [fact[0], *rng.sample(range(world.documents), rng.randint(0, 2))])
                for fact in facts
            ]
        else:
            turns = [(None, [fact[0] for fact in facts])]
        for lead, found in turns:
            if lead is not None:
                row.add(encode(know.search(lead, rng)), 0.0, Part.ACT)
            passages = arrange([asked.passage(each) for each in found])
            row.add(encode(TAGS.reply_text(TAGS.passages(passages))), TEXT, Part.TEXT)
        answer = encode.answer(question.answers[0])
        row.branch(encode.prefix, answer, ANSWER, Part.CHOICE)
        out.append(row)
    return out
