"""The first lessons: facts, documents, single searches and lists of names, with answers as branches."""

from __future__ import annotations

from random import Random

from igpo_gym.agents.policies.scripted import Knowledge
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world import World
from igpo_gym.data.world.language import RELATIONS, capitalized
from igpo_gym.protocols import TAGS
from nano.rows import TEXT, Encoder, Part, Row

_READ = 0.1
"""Weight of the environment's text where nothing else is read: more than the ``TEXT`` of transcripts."""


def fact_rows(world: World, encode: Encoder, rng: Random, facts: int, rows: int) -> list[Row]:
    """Lone sentences, then for each its recall: the same sentence, another wording, or a question."""
    out = []
    for _ in range(rows):
        stated = []
        for _ in range(rng.randint(1, facts)):
            number = rng.randrange(world.documents)
            relation = rng.choice(tuple(world.targets(number)))
            stated.append((number, relation, rng.choice(RELATIONS[relation].sentences)))
        row = encode.row()
        text = " ".join(_sentence(world, *fact) for fact in stated)
        row.add(encode(TAGS.reply_text(text)), _READ, Part.TEXT)
        for number, relation, sentence in stated:
            if rng.random() < 0.5:
                _ask(row, encode, world, number, relation, rng)
            else:
                again = sentence if rng.random() < 0.5 else rng.choice(RELATIONS[relation].sentences)
                head, _, _ = again.partition("{y}")
                x = world.entity(number).phrase
                target = encode(world.entity(world.targets(number)[relation]).phrase)
                row.branch(encode(capitalized(head.format(x=x).strip())), target, 1.0, Part.RECALL)
        out.append(row)
    return out


def document_rows(world: World, encode: Encoder, rng: Random, documents: int, rows: int) -> list[Row]:
    """A few documents, then a question on every fact in them."""
    out = []
    for _ in range(rows):
        numbers = rng.sample(range(world.documents), documents)
        row = encode.row()
        row.add(encode(TAGS.reply_text(TAGS.passages([world.passage(n) for n in numbers]))), _READ, Part.TEXT)
        for number in numbers:
            for relation in world.targets(number):
                _ask(row, encode, world, number, relation, rng)
        out.append(row)
    return out


def _sentence(world: World, number: int, relation: str, template: str) -> str:
    target = world.targets(number)[relation]
    return capitalized(template.format(x=world.entity(number).phrase, y=world.entity(target).phrase))


def _ask(row: Row, encode: Encoder, world: World, number: int, relation: str, rng: Random) -> None:
    lead = world.lead(number, relation)
    answer = world.entity(world.targets(number)[relation])
    ask = rng.choice((f"What is {rng.choice(lead.phrases)}?", f"<search>{lead.name} {lead.keyword}</search>"))
    row.branch(encode(ask) + encode.prefix, encode.answer(answer.name), 1.0, Part.RECALL)


def lookup_rows(world: World, encode: Encoder, rng: Random, rows: int) -> list[Row]:
    """Searches, each followed by facts or documents and by the answer to what was searched for.

    A transcript in small: what is wanted stands before the text, as it always will, and a text is short, so
    there are many answers to learn from. Documents stand as a search brings them, the wanted one first. The
    name that was searched for is asked for too.
    """
    know = Knowledge(QuestionSet("", ()), TAGS)
    out = []
    for _ in range(rows):
        row = encode.row()
        for _ in range(rng.randint(1, 3)):
            number = rng.randrange(world.documents)
            relation = rng.choice(tuple(world.targets(number)))
            row.add(encode(know.search(world.lead(number, relation), rng)), 0.0, Part.ACT)
            if rng.random() < 0.25:
                body = _facts_around(world, number, relation, rng)
            else:
                others = rng.sample(range(world.documents), rng.choice((0, 1, 2)))
                body = TAGS.passages([world.passage(n) for n in (number, *others)])
            row.add(encode(TAGS.reply_text(body)), TEXT, Part.TEXT)
            answer = encode.answer(world.entity(world.targets(number)[relation]).name)
            row.branch(encode.prefix, answer, 1.0, Part.RECALL)
            _ask_name(row, encode, world, number)
        out.append(row)
    return out


def _ask_name(row: Row, encode: Encoder, world: World, number: int) -> None:
    """Ask for what was searched for, where an answer will be asked for: to know it there is to read on."""
    thought = TAGS.probe.prefix.partition("<answer>")[0]
    row.branch(encode(thought) + encode("Title:"), encode(world.entity(number).name), 1.0, Part.NAME)


def _facts_around(world: World, number: int, relation: str, rng: Random) -> str:
    """A fact among two to five others, many of which share its entity or its relation."""
    facts = [(number, relation)]
    for _ in range(rng.randint(2, 5)):
        other = number if rng.random() < 0.4 else rng.randrange(world.documents)
        relations = tuple(world.targets(other))
        shared = relation in relations and rng.random() < 0.5 and other != number
        facts.append((other, relation if shared else rng.choice(relations)))
    facts = list(dict.fromkeys(facts))
    rng.shuffle(facts)
    return " ".join(_sentence(world, n, r, rng.choice(RELATIONS[r].sentences)) for n, r in facts)


def name_rows(world: World, encode: Encoder, rng: Random, rows: int) -> list[Row]:
    """A list of names and the same names in another order, where every name's first syllable is given.

    To read chains it is enough to know where an answer stands, and each syllable can be fetched from there by
    itself. Where two answers are as likely that mixes them; what goes on is what followed before. Some names
    are asked for where answers are.
    """
    out = []
    for _ in range(rows):
        entities = [world.entity(n) for n in rng.sample(range(world.documents), rng.randint(4, 12))]
        row = encode.row()
        for entity in entities:
            row.add([*encode(entity.name), *encode(",")], 0.0, Part.TEXT)
        rng.shuffle(entities)
        for entity in entities:
            first, *rest = encode(entity.name)
            row.add([first], 0.0, Part.TEXT)
            row.add([*rest, *encode(",")], 1.0, Part.NAME)
        for entity in entities[:2]:
            first, *rest = encode(entity.name)
            row.branch([*encode.prefix, first], [*rest, encode.suffix[0]], 1.0, Part.NAME)
        out.append(row)
    return out
