"""What the packaged model is taught, and in which order: lessons of rising difficulty, of fresh worlds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from igpo_gym.data.world import World
from nano.choosing import QUESTIONS, asked_rows, choice_rows, pair_rows
from nano.playing import glimpse_rows, transcript_rows
from nano.reading import document_rows, fact_rows, lookup_rows, name_rows
from nano.rows import Encoder, Part, Row

FIRST_SEED = 1_000_000
"""Training worlds have seeds from here on, so that the small seeds users choose are worlds it never saw."""

NEVER = (Part.ANSWER, 2.0)
"""What the last lesson is passed at."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught, and when the next lesson begins."""

    name: str
    hops: tuple[tuple[int, int], ...] = ()
    """The ranges of hops of transcripts, one drawn for each world; empty for none."""
    questions: int = 96
    """How many transcripts a chunk has, where it has any."""
    top_k: tuple[int, ...] = (1, 2, 3, 3)
    """How many passages a search brings, one drawn for each transcript."""
    facts: int = 0
    """How many fact rows a chunk has."""
    documents: int = 0
    """How many document rows a chunk has."""
    lookups: int = 0
    """How many lookup rows a chunk has."""
    names: int = 0
    """How many name rows a chunk has."""
    pairs: int = 0
    """How many pair rows a chunk has."""
    turned: float = 0.0
    """The share of their sentences that say the value first."""
    ask: tuple[str, ...] = tuple(QUESTIONS)
    """What is asked of them."""
    asked: int = 0
    """How many asked rows a chunk has."""
    choices: int = 0
    """How many choice rows a chunk has, at most."""
    searched: float = 0.0
    """The share of them with a search for each document."""
    glimpses: int = 0
    """How many glimpse rows a chunk has, at most."""
    brief: float = 0.0
    """The share of transcripts whose documents are shortened."""
    shuffle: float = 0.5
    """The share of transcripts whose documents are out of their ranks. A reader that always finds the wanted
    one first never learns to read the others; one that never does cannot use what the search engine knows."""
    lies: float = 0.0
    """The share of thoughts that state a wrong answer: what an agent says itself is no evidence."""
    opened: float = 0.0
    """The share of worlds whose searches show the beginnings of documents, and ``open`` the rest."""
    play: float = 1.0
    """A factor on the weight of the agent's messages: once a model reads, more of playing can be taught."""
    longest: int = 900
    """Longer rows, without their branches, are left out: attention to them costs too much."""
    passed: tuple[Part, float] = NEVER
    """The part and the share of its predictions to be right before the next lesson begins."""
    patience: int = 1_000_000
    """The next lesson begins after so many steps in any case."""


_SHORT_CHAINS = Lesson(
    "short chains",
    ((1, 1), (1, 2), (1, 3)),
    top_k=(1, 2, 3),
    lookups=48,
    names=16,
    brief=0.8,
    passed=(Part.ANSWER, 0.75),
)
_ALL_CHAINS = replace(
    _SHORT_CHAINS,
    name="all chains",
    hops=((1, 3), (1, 3), (1, 3), (2, 4)),
    top_k=(1, 2, 3, 3),
    lookups=12,
    brief=0.4,
    longest=1500,
    passed=(Part.ANSWER, 0.75),
    patience=3000,
)
_TURNED = replace(
    _ALL_CHAINS,
    name="turned",
    questions=32,
    pairs=400,
    turned=1.0,
    ask=("backward",),
    passed=(Part.BACKWARD, 0.9),
    patience=2000,
)
_BACKWARD = replace(_TURNED, name="backward", turned=0.15, passed=(Part.BACKWARD, 0.85), patience=4000)
_OLDEST = replace(
    _BACKWARD,
    name="oldest",
    ask=("backward", "oldest"),
    passed=(Part.OLDEST, 0.85),
    patience=3000,
)
_CHOICES = replace(
    _OLDEST,
    name="choices",
    pairs=200,
    ask=tuple(QUESTIONS),
    choices=200,
    passed=(Part.CHOICE, 0.85),
    patience=2500,
)
_ASKED = replace(
    _CHOICES,
    name="asked first",
    pairs=60,
    ask=("backward", "oldest"),
    asked=400,
    patience=4000,
)
_PLAY = replace(
    _ASKED,
    name="play",
    questions=96,
    pairs=32,
    asked=64,
    choices=64,
    play=3.0,
    lies=0.1,
    opened=0.25,
    passed=(Part.ACT, 0.934),
    patience=1500,
)
_GLIMPSES = replace(_PLAY, name="glimpses", glimpses=64, passed=(Part.GLIMPSE, 0.45), patience=1500)
_RANKS = replace(
    _GLIMPSES,
    name="ranks",
    glimpses=32,
    brief=0.2,
    shuffle=0.1,
    passed=(Part.ANSWER, 0.93),
    patience=1500,
)
_WHOLE = replace(_RANKS, name="whole", brief=0.1, passed=NEVER, patience=4875)
_LONG = replace(
    _WHOLE,
    name="long",
    hops=((1, 4), (2, 4), (3, 4)),
    questions=64,
    pairs=16,
    asked=32,
    choices=150,
    searched=0.75,
    glimpses=24,
    longest=2200,
    patience=8125,
)
_SEARCHED = replace(_LONG, name="searched", asked=0, searched=1.0)

LESSONS = (
    Lesson("facts", facts=256, passed=(Part.RECALL, 0.72)),
    Lesson("documents", facts=77, documents=90, passed=(Part.RECALL, 0.8)),
    Lesson("lookups", lookups=140, documents=32, passed=(Part.RECALL, 0.8)),
    Lesson("names", lookups=64, names=250, passed=(Part.NAME, 0.9), patience=2500),
    _SHORT_CHAINS,
    _ALL_CHAINS,
    _TURNED,
    _BACKWARD,
    _OLDEST,
    _CHOICES,
    _ASKED,
    _PLAY,
    _GLIMPSES,
    _RANKS,
    _WHOLE,
    _LONG,
    _SEARCHED,
)


def lesson_rows(lesson: Lesson, seed: int, chunk: int, encode: Encoder) -> list[Row]:
    """The rows of one chunk: a fresh world's, and a function of the seed and the chunk's number alone."""
    rng = Random(f"{seed}/{chunk}")
    hops = rng.choice(lesson.hops) if lesson.hops else (1, 1)
    world = World(
        documents=rng.choice((100, 200, 400)),
        questions=lesson.questions,
        hops=hops,
        seed=FIRST_SEED + 1_000_000 * seed + chunk,
        long_names=rng.choice((0.0, 0.0, 0.3)),
        shown=rng.choice((1, 2)) if rng.random() < lesson.opened else None,
    )
    rows = fact_rows(world, encode, rng, 1 + min(4, chunk // 8), lesson.facts)
    rows += document_rows(world, encode, rng, rng.choice((1, 2, 3)), lesson.documents)
    rows += lookup_rows(world, encode, rng, lesson.lookups)
    rows += name_rows(world, encode, rng, lesson.names)
    rows += pair_rows(world, encode, rng, lesson.pairs, lesson.turned, lesson.ask)
    rows += asked_rows(world, encode, rng, lesson.asked)
    if lesson.choices:
        rows += choice_rows(world, encode, rng, lesson.choices, lesson.searched)
    if lesson.glimpses:
        rows += glimpse_rows(world, encode, rng, lesson.glimpses)
    if lesson.hops:
        made = transcript_rows(world, encode, rng, lesson.top_k, lesson.brief, lesson.shuffle, lesson.lies)
        rows += [row.weighted(Part.ACT, lesson.play) for row in made]
    return [row for row in rows if len(row.ids) <= lesson.longest]
