"""What the packaged model is taught: token rows made of fresh worlds, in lessons of rising difficulty.

A row is one token sequence with branches: a branch continues the row from one of its positions and is seen
by nothing else. Transcripts are the rows, and the gold answer after every turn is a branch, so one row
teaches the belief after each of its turns. Segments are tokenized one by one, as every scorer does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from itertools import islice, pairwise
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from igpo_gym.agents.policies.scripted import Knowledge, ScriptedAgent, noisy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world import World, WorldQuestions
from igpo_gym.data.world.generator import Chain, Choice
from igpo_gym.data.world.language import RELATIONS, capitalized
from igpo_gym.data.world.oracle import judge_searches, known_hops
from igpo_gym.envs.engine import Engine, Rules
from igpo_gym.episode import Answer, Episode, Invalid, Passage, Question
from igpo_gym.lm.policy import Policy
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import PRESETS
from igpo_gym.search import BM25Index, Retriever
from igpo_gym.tools import Search
from nano.tokenizer import BOS, EOS, token_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXT, ACT, NAMED, PRIOR, BELIEF, ANSWER, KEPT = 0.05, 0.3, 1.5, 0.2, 1.0, 2.0, 3.0
"""Weights of targets in transcripts: the environment's text, the agent's message, the names in its queries,
and the gold answer before any search, before the evidence is complete, when it is, and after a turn wasted
since then. Reading is the hard part, and under Muon, whose steps have one size, it is learned only if it is
most of the loss; a query's name is an earlier hop's answer, so it counts as reading."""

MAX_TURNS = 6
"""The environment's default."""

FIRST_SEED = 1_000_000
"""Training worlds have seeds from here on, so that the small seeds users choose are worlds it never saw."""


class Part(IntEnum):
    """What a predicted token belongs to, for the weights and the log."""

    TEXT = 0
    RECALL = 1
    """The answer to a question on facts just read."""
    ACT = 2
    """The agent's message."""
    ANSWER = 3
    """A question's answer after all its evidence."""
    BELIEF = 4
    """A question's answer before that."""
    NAME = 5
    """The name that was searched for."""
    CHOICE = 6
    """The answer to a comparison or which-of question, both documents being there."""
    GLIMPSE = 7
    """The answer to a chain whose last document is missing, but whose last one but one may mention it."""


@dataclass(slots=True)
class Branch:
    """Tokens that continue a row after position ``start - 1``, with a weight for each as a target."""

    start: int
    ids: list[int]
    weights: list[float]
    part: Part


@dataclass(slots=True)
class Row:
    """Token ids; for each the weight and the part it has as a target (the prediction of the one before)."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)

    def add(self, ids: Sequence[int], weight: float, part: Part) -> None:
        """Continue the row."""
        self.ids += ids
        self.weights += [weight] * len(ids)
        self.parts += [part] * len(ids)

    def branch(self, quiet: Sequence[int], taught: Sequence[int], weight: float, part: Part) -> None:
        """Branch off at the row's present end: ``quiet`` tokens are given, ``taught`` ones are targets."""
        weights = [0.0] * len(quiet) + [weight] * len(taught)
        self.branches.append(Branch(len(self.ids), [*quiet, *taught], weights, part))

    def weighted(self, part: Part, factor: float) -> Row:
        """The row with the weight of all targets of a part multiplied."""
        parts = zip(self.weights, self.parts, strict=True)
        weights = [weight * factor if of == part else weight for weight, of in parts]
        branches = [
            replace(branch, weights=[weight * factor for weight in branch.weights])
            if branch.part == part
            else branch
            for branch in self.branches
        ]
        return replace(self, weights=weights, branches=branches)

    @property
    def length(self) -> int:
        """How many tokens the row has with its branches."""
        return len(self.ids) + sum(len(branch.ids) for branch in self.branches)


class Encoder:
    """Tokenizes segments one by one, and remembers those that return often."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.bos = token_id(tokenizer, BOS)
        self.eos = token_id(tokenizer, EOS)
        self.prefix = self(TAGS.probe.prefix)
        self.suffix = self(TAGS.probe.suffix)

    def __call__(self, text: str) -> list[int]:
        """The token ids of one segment."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


# The first lessons: facts, documents and single searches, with answers as branches.


def fact_rows(world: World, encode: Encoder, rng: Random, facts: int, rows: int) -> list[Row]:
    """Lone sentences, then for each its recall: the same sentence, another wording, or a question."""
    out = []
    for _ in range(rows):
        stated = []
        for _ in range(rng.randint(1, facts)):
            number = rng.randrange(world.documents)
            relation = rng.choice(tuple(world.targets(number)))
            stated.append((number, relation, rng.choice(RELATIONS[relation].sentences)))
        row = Row()
        row.add([encode.bos], 0.0, Part.TEXT)
        text = " ".join(_sentence(world, *fact) for fact in stated)
        row.add(encode(TAGS.reply_text(text)), 0.1, Part.TEXT)
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
        row = Row()
        row.add([encode.bos], 0.0, Part.TEXT)
        row.add(encode(TAGS.reply_text(TAGS.passages([world.passage(n) for n in numbers]))), 0.1, Part.TEXT)
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
    row.branch(encode(ask) + encode.prefix, encode(answer.name) + encode.suffix[:1], 1.0, Part.RECALL)


def lookup_rows(world: World, encode: Encoder, rng: Random, rows: int) -> list[Row]:
    """Searches, each followed by facts or documents and by the answer to what was searched for.

    A transcript in small: what is wanted stands before the text, as it always will, and a text is short, so
    there are many answers to learn from. Documents stand as a search brings them, the wanted one first. The
    name that was searched for is asked for too.
    """
    know = Knowledge(QuestionSet("", ()), TAGS)
    out = []
    for _ in range(rows):
        row = Row()
        row.add([encode.bos], 0.0, Part.TEXT)
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
            answer = encode(world.entity(world.targets(number)[relation]).name)
            row.branch(encode.prefix, answer + encode.suffix[:1], 1.0, Part.RECALL)
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
        row = Row()
        row.add([encode.bos], 0.0, Part.TEXT)
        for entity in entities:
            row.add([*encode(entity.name), *encode(",")], 0.0, Part.TEXT)
        rng.shuffle(entities)
        for entity in entities:
            first, *rest = encode(entity.name)
            row.add([first], 0.0, Part.TEXT)
            row.add([*rest, *encode(",")], 1.0, Part.RECALL)
        for entity in entities[:2]:
            first, *rest = encode(entity.name)
            row.branch([*encode.prefix, first], [*rest, encode.suffix[0]], 1.0, Part.RECALL)
        out.append(row)
    return out


def choice_rows(world: World, encode: Encoder, rng: Random, rows: int) -> list[Row]:
    """Comparison and which-of questions, each with the two documents that decide it, mostly shortened.

    Chains never ask for an order of years, and transcripts with such questions are few and long.
    """
    asked = World(world.documents, 20 * rows, (2, 2), world.coupling, world.seed, world.split)
    numbers = (number for number in range(asked.questions) if isinstance(asked.plan(number), Choice))
    out = []
    for question in map(asked.question, islice(numbers, rows)):
        passages = [asked.passage(int(number)) for number in question.evidence]
        arrange = Arrangement(stated(asked, question), rng, brief=rng.random() < 0.8, shuffle=True)
        row = Row()
        row.add([encode.bos], 0.0, Part.TEXT)
        row.add(encode(TAGS.prompt(question)[-1].text), TEXT, Part.TEXT)
        row.add(encode(TAGS.reply_text(TAGS.passages(arrange(passages)))), TEXT, Part.TEXT)
        answer = encode(question.answers[0]) + encode.suffix[:1]
        row.branch(encode.prefix, answer, ANSWER, Part.CHOICE)
        out.append(row)
    return out


def glimpse_rows(world: World, encode: Encoder, rng: Random, rows: int) -> list[Row]:
    """Chains of two hops after the first of them, whose document mostly mentions the answer in passing.

    What makes an intermediate hop inform: the answer is likely to be among the names of the right kind that
    stand beside "See also". In transcripts that is too rare to be discovered.
    """
    asked = World(world.documents, 4 * rows, (2, 2), world.coupling, world.seed, world.split)
    know = Knowledge(QuestionSet("", ()), TAGS)
    out: list[Row] = []
    for question in asked.all_questions():
        if len(out) == rows:
            break
        plan = asked.plan(asked.number(question))
        if not isinstance(plan, Chain):
            continue
        document = asked.passage(plan.entities[0])
        if question.answers[0] not in document.text.rpartition("See also")[2] and rng.random() < 0.6:
            continue
        others = rng.sample(range(world.documents), rng.choice((0, 0, 1, 2)))
        passages = [document, *map(asked.passage, others)]
        rng.shuffle(passages)
        row = Row()
        row.add([encode.bos], 0.0, Part.TEXT)
        row.add(encode(TAGS.prompt(question)[-1].text), 0.0, Part.TEXT)
        row.add(encode(know.search(asked.lead(plan.entities[0], plan.relations[0]), rng)), 0.0, Part.ACT)
        row.add(encode(TAGS.reply_text(TAGS.passages(passages))), TEXT, Part.TEXT)
        answer = encode(question.answers[0]) + encode.suffix[:1]
        row.branch(encode.prefix, answer, ANSWER, Part.GLIMPSE)
        out.append(row)
    return out


# How documents are presented.


def stated(world: World, question: Question) -> dict[str, str]:
    """For each passage of the evidence, by its id, the words that its deciding sentence must hold."""
    plan = world.plan(world.number(question))
    if isinstance(plan, Chain):
        steps = pairwise(plan.entities)
        return {str(source): world.entity(target).name for source, target in steps}
    if plan.relation == "year":
        return {str(option): str(world.year(option)) for option in plan.options}
    return {str(option): world.entity(world.targets(option)[plan.relation]).name for option in plan.options}


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Presents what a search found: shuffled, so that rank says nothing, or shortened, so that there is less
    to read for each answer. A shortened document keeps the sentence that decides the question."""

    stated: Mapping[str, str]
    rng: Random
    brief: bool
    shuffle: bool

    def __call__(self, passages: Sequence[Passage]) -> list[Passage]:
        """The passages as they are to be read."""
        arranged = [self._shortened(passage) for passage in passages] if self.brief else list(passages)
        if self.shuffle:
            self.rng.shuffle(arranged)
        return arranged

    def _shortened(self, passage: Passage) -> Passage:
        sentences = passage.text.removesuffix(".").split(". ")
        needed = self.stated.get(passage.id)
        kept = [
            sentence
            for sentence in sentences
            if (needed is not None and needed in sentence) or self.rng.random() < 0.3
        ]
        return replace(passage, text=". ".join(kept or [self.rng.choice(sentences)]) + ".")


@dataclass(frozen=True, slots=True)
class _Arranged:
    """A retriever whose passages come as an arrangement presents them."""

    retriever: Retriever
    arrange: Arrangement

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [self.arrange(found) for found in self.retriever.search(queries, k)]


# The later lessons: transcripts of a noisy expert.


def play_all(
    policy: Policy, questions: Sequence[Question], retriever: Retriever, top_k: int
) -> list[Episode]:
    """One episode of the tags protocol for each question, in their order and without beliefs."""
    engine = Engine(TAGS, (Search(retriever, top_k),), PRESETS["outcome-f1"], rules=Rules(MAX_TURNS))
    played = {episode.question.id: episode for episode in collect(engine, policy, questions, len(questions))}
    return [played[question.id] for question in questions]


def transcript_row(episode: Episode, encode: Encoder, names: Sequence[str], thoughtless: bool = False) -> Row:
    """An episode as a row: the expert's useful messages are taught, the environment's text a little.

    ``names`` are those that queries should hold.

    After the prompt and after every turn the answer branches off. Where the agent has just wasted a turn the
    branch counts more: a belief must outlast what does not bear on it.
    """
    question, row = episode.question, Row()
    answer = encode(question.answers[0])
    row.add([encode.bos], 0.0, Part.TEXT)
    row.add(encode(episode.segments[0].text), TEXT, Part.TEXT)
    row.branch(encode.prefix, answer + encode.suffix[:1], PRIOR, Part.BELIEF)
    seen: set[str] = set()
    complete = False
    for turn, verdict in zip(episode.turns, judge_searches(episode), strict=True):
        if isinstance(turn.action, Answer):
            if complete:
                row.add(encode.prefix, ACT, Part.ACT)
                row.add(answer, ANSWER, Part.ANSWER)
                row.add([*encode.suffix, encode.eos], ACT, Part.ACT)
            break
        taught = verdict == "useful" and not thoughtless
        message = turn.message.partition("</think>")[2] if thoughtless else turn.message
        said = encode(message)
        row.add(said, ACT if taught else 0.0, Part.ACT)
        if taught:
            _stress(row, [encode(name) for name in names], len(said))
            row.branch([], [encode.eos], ACT, Part.ACT)
        body = (
            TAGS.invalid(turn.action.reason)
            if isinstance(turn.action, Invalid)
            else TAGS.passages(turn.passages)
        )
        row.add(encode(TAGS.reply_text(body)), TEXT, Part.TEXT)
        seen.update(passage.id for passage in turn.passages)
        complete = all(known_hops(question, seen))
        weight = (ANSWER if verdict == "useful" else KEPT) if complete else BELIEF
        part = Part.ANSWER if complete else Part.BELIEF
        row.branch(encode.prefix, answer + encode.suffix[:1], weight, part)
    return row


def _stress(row: Row, names: Sequence[Sequence[int]], last: int) -> None:
    """Raise the weight of names among the row's last tokens."""
    for name in names:
        for start in range(len(row.ids) - last, len(row.ids) - len(name) + 1):
            if row.ids[start : start + len(name)] == name:
                row.weights[start : start + len(name)] = [NAMED] * len(name)


NEVER = (Part.ANSWER, 2.0)
"""What the last lesson is passed at."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught, and when the next lesson begins."""

    name: str
    hops: tuple[tuple[int, int], ...] = ()
    """The ranges of hops of transcripts, one drawn for each world; empty for none."""
    top_k: tuple[int, ...] = ()
    """How many passages a search brings, one drawn for each transcript."""
    facts: int = 0
    """How many fact rows a chunk has."""
    documents: int = 0
    """How many document rows a chunk has."""
    lookups: int = 0
    """How many lookup rows a chunk has."""
    names: int = 0
    """How many name rows a chunk has."""
    choices: int = 0
    """How many choice rows a chunk has, at most."""
    glimpses: int = 0
    """How many glimpse rows a chunk has, at most."""
    brief: float = 0.0
    """The share of transcripts whose documents are shortened."""
    shuffle: float = 0.5
    """The share of transcripts whose documents are out of their ranks. A reader that always finds the wanted
    one first never learns to read the others; one that never does cannot use what the search engine knows."""
    play: float = 1.0
    """A factor on the weight of the agent's messages: once a model reads, more of playing can be taught."""
    longest: int = 900
    """Longer rows, without their branches, are left out: attention to them costs too much."""
    passed: tuple[Part, float] = NEVER
    """The part and the share of its tokens to be predicted rightly before the next lesson begins."""


_ALL_CHAINS = Lesson(
    "all chains",
    ((1, 3), (1, 3), (1, 3), (2, 4)),
    (1, 2, 3, 3),
    lookups=12,
    choices=16,
    brief=0.4,
    longest=1500,
    passed=(Part.ANSWER, 0.83),
)
_PLAY = replace(_ALL_CHAINS, name="play", play=3.0, passed=(Part.ACT, 0.934))
_GLIMPSES = replace(_PLAY, name="glimpses", glimpses=96, passed=(Part.GLIMPSE, 0.7))
_RANKS = replace(
    _GLIMPSES, name="ranks", choices=64, glimpses=48, brief=0.2, shuffle=0.1, passed=(Part.ANSWER, 0.89)
)
_CHOICES = replace(_RANKS, name="choices", names=300, choices=200, glimpses=64, passed=NEVER)

LESSONS = (
    Lesson("facts", facts=256, passed=(Part.RECALL, 0.72)),
    Lesson("documents", facts=77, documents=90, passed=(Part.RECALL, 0.8)),
    Lesson("lookups", lookups=140, documents=32, choices=48, passed=(Part.RECALL, 0.8)),
    Lesson(
        "short chains",
        ((1, 1), (1, 2), (1, 3)),
        (1, 2, 3),
        lookups=48,
        choices=32,
        brief=0.8,
        passed=(Part.ANSWER, 0.8),
    ),
    _ALL_CHAINS,
    _PLAY,
    _GLIMPSES,
    _RANKS,
    _CHOICES,
)


def lesson_rows(lesson: Lesson, seed: int, chunk: int, encode: Encoder) -> list[Row]:
    """The rows of one chunk: a fresh world's, and a function of the seed and the chunk's number alone."""
    rng = Random(f"{seed}/{chunk}")
    hops = rng.choice(lesson.hops) if lesson.hops else (1, 1)
    world = World(
        documents=rng.choice((100, 200, 400)),
        questions=96,
        hops=hops,
        seed=FIRST_SEED + 1_000_000 * seed + chunk,
    )
    rows = fact_rows(world, encode, rng, 1 + min(4, chunk // 8), lesson.facts)
    rows += document_rows(world, encode, rng, rng.choice((1, 2, 3)), lesson.documents)
    rows += lookup_rows(world, encode, rng, lesson.lookups)
    rows += name_rows(world, encode, rng, lesson.names)
    if lesson.choices:
        rows += choice_rows(world, encode, rng, lesson.choices)
    if lesson.glimpses:
        rows += glimpse_rows(world, encode, rng, lesson.glimpses)
    if lesson.hops:
        passages = tuple(world.passages())
        questions = WorldQuestions("", tuple(world.all_questions()), passages, "", world)
        retriever = BM25Index.build(passages)
        agents = [ScriptedAgent(partial(noisy, rate=rate), questions, seed=chunk) for rate in (0.0, 0.2, 0.4)]
        for question in questions.questions:
            arrange = Arrangement(
                stated(world, question),
                rng,
                brief=rng.random() < lesson.brief,
                shuffle=rng.random() < lesson.shuffle,
            )
            (episode,) = play_all(
                rng.choice(agents), [question], _Arranged(retriever, arrange), rng.choice(lesson.top_k)
            )
            names = [lead.name for lead in questions.leads(question)]
            row = transcript_row(episode, encode, names, thoughtless=rng.random() < 0.1)
            rows.append(row.weighted(Part.ACT, lesson.play))
    return [row for row in rows if len(row.ids) <= lesson.longest]


# Packing.


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows, padded, with their branches behind them: each position's id, target, weight and part."""

    ids: Tensor
    positions: Tensor
    mask: Tensor
    """Additive, (rows, 1, branch tokens, all tokens): what the branch tokens see."""
    targets: Tensor
    weights: Tensor
    parts: Tensor
    size: int
    """How many tokens there are, without the padding."""


def batches(rows: Iterable[Row], tokens: int, rng: Random) -> list[Batch]:
    """Similar rows together, about ``tokens`` a batch, in random order."""
    out, current, held = [], list[Row](), 0
    for row in sorted(rows, key=lambda row: (len(row.branches), len(row.ids))):
        if current and held + row.length > tokens:
            out.append(pack(current))
            current, held = [], 0
        current.append(row)
        held += row.length
    out.append(pack(current))
    rng.shuffle(out)
    return out


def pack(rows: Sequence[Row]) -> Batch:
    """Pad rows to the longest, then their branches to the longest.

    ``owner`` is the number of a token's branch, -1 on the row and -2 on padding; ``limit`` is the last
    position of the row that a branch token may see. Of the environment's text every third token is a target:
    predicting all of it costs much and teaches little.
    """
    plain = max(len(row.ids) for row in rows)
    length = plain + max(row.length - len(row.ids) for row in rows)
    ids, positions, targets, parts, owner, limit = (
        torch.full((len(rows), length), fill) for fill in (0, 0, 0, 0, -2, -1)
    )
    weights = torch.zeros(len(rows), length)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n] = torch.tensor(row.ids)
        positions[i, :n] = torch.arange(n)
        owner[i, :n] = -1
        targets[i, : n - 1] = ids[i, 1:n]
        weights[i, : n - 1] = torch.tensor(row.weights[1:])
        parts[i, : n - 1] = torch.tensor(row.parts[1:])
        at = plain
        for number, branch in enumerate(row.branches):
            size, start = len(branch.ids), branch.start
            here = slice(at, at + size)
            ids[i, here] = torch.tensor(branch.ids)
            positions[i, here] = torch.arange(start, start + size)
            limit[i, here] = start - 1
            owner[i, here] = number
            targets[i, at : at + size - 1] = torch.tensor(branch.ids[1:])
            weights[i, at : at + size - 1] = torch.tensor(branch.weights[1:])
            parts[i, here] = int(branch.part)
            if branch.weights[0]:
                # Nothing is given: the row's own last token predicts the branch's first.
                targets[i, start - 1] = branch.ids[0]
                weights[i, start - 1] = branch.weights[0]
                parts[i, start - 1] = int(branch.part)
            at += size
    unused = (parts == Part.TEXT) & ((torch.arange(length) + length) % 3 != 0)
    weights[unused] = 0.0
    place = torch.arange(length)
    asking, branch_limit = owner[:, plain:, None], limit[:, plain:, None]
    on_row = (owner[:, None, :] == -1) & (place <= branch_limit)
    on_branch = (asking >= 0) & (asking == owner[:, None, :]) & (place <= place[plain:, None])
    visible = on_row | on_branch | (place == place[plain:, None])
    mask = torch.zeros(visible.shape).masked_fill_(~visible, torch.finfo(torch.float32).min)[:, None]
    return Batch(ids, positions, mask, targets, weights, parts, sum(row.length for row in rows))
