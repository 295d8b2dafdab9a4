"""A generated world: invented facts that no language model can know, for work that needs no download.

>>> world = load_world("test", hops=2)
>>> world.questions[0].text, world.questions[0].answers
('What is the capital of the region that contains Salman?', ('Tumvel',))
>>> [lead.phrases[0] for lead in world.leads(world.questions[0])]
['the region of Salman', 'the capital of the Ferhus Highlands']
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from igpo_gym.config import with_signature
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world.dials import hops_text, read_hops, world_arguments
from igpo_gym.data.world.documents import about
from igpo_gym.data.world.facts import Entity
from igpo_gym.data.world.generator import Chain, Choice, Lead, World
from igpo_gym.data.world.names import SPLITS
from igpo_gym.data.writing import write_lines
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import SpecError
from igpo_gym.progress import Track, untracked
from igpo_gym.specs import Spec
from igpo_gym.storage import written_file

__all__ = [
    "FILES",
    "Chain",
    "Choice",
    "Entity",
    "Lead",
    "World",
    "WorldQuestions",
    "about",
    "load_world",
    "read_hops",
    "world_spec",
    "write_world",
]


@dataclass(frozen=True, slots=True)
class WorldQuestions(QuestionSet):
    """A world's questions and corpus, with the world, which knows how each question came about."""

    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        object.__setattr__(self, "flaws", self.world.flaws)

    def leads(self, question: Question) -> tuple[Lead, ...]:
        """What has to be looked up for a question of this world, hop by hop."""
        return self.world.leads(self.world.number(question))

    def kind(self, question: Question) -> str:
        """The kind of the entity that is the answer: person, town, and so on."""
        plan = self.world.plan(self.world.number(question))
        entity = self.world.entity(plan.entities[-1] if isinstance(plan, Chain) else plan.answer)
        named = entity.name in question.answers
        return entity.kind if named else super(WorldQuestions, self).kind(question)


@with_signature(world_arguments())
def load_world(split: str = "train", **settings: Any) -> WorldQuestions:
    """A generated world as a question set, held in memory: its split's name, and the other settings of World.

    ``hops`` is a number or a range such as "2-3". It is what the spec ``world:test#hops=2-3`` calls. Raises
    SpecError for a split that does not exist and a value that does not fit.

    >>> load_world("test", hops=2, documents=5000).name
    'world:test#documents=5000,hops=2'
    """
    if split not in SPLITS:
        raise SpecError(
            f"a generated world has the splits {', '.join(SPLITS)}, and {split!r} is none of them; its "
            "settings stand behind '#', as in world:test#documents=5000,hops=2-3"
        )
    world = World.of(split=split, **settings)
    passages = tuple(world.passages())
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(f"{passage.id}\0{passage.title}\0{passage.text}\n".encode())
    return WorldQuestions(
        name=world_spec(world),
        questions=tuple(world.all_questions()),
        passages=passages,
        fingerprint=digest.hexdigest(),
        world=world,
    )


def world_spec(world: World) -> str:
    """The spec of a world: its split and the settings that are not the default ones.

    >>> world_spec(World()), world_spec(World(split="test", hops=(2, 3), seed=7))
    ('world', 'world:test#hops=2-3,seed=7')
    """
    changed = world.changed | world.dials
    split = changed.pop("split", None)
    if "hops" in changed:
        changed["hops"] = hops_text(world.hops)
    options = {name: str(value) for name, value in changed.items()}
    return str(Spec(f"world:{split}" if split else "world", options))


FILES = ("corpus.jsonl", "questions.jsonl")
"""What a world that is written consists of."""


def write_world(out: Path, world: World, track: Track = untracked) -> int:
    """Stream ``corpus.jsonl`` and ``questions.jsonl`` into folder ``out``: any size, little memory.

    They are what ``read_corpus`` and ``load_jsonl`` read. They appear under their names once both are whole;
    a file that is there is replaced. ``track`` is put around what is written, with its name and
    number, to show how far it is; how many former documents there will be is an estimate. What the search
    lacks (``world.flaws``) is not in the files. Returns the number of documents.
    """
    about = round(world.documents * (1 + world.outdated + world.distractors))
    passages = track(world.passages(), "documents", about)
    questions = track(world.all_questions(), "questions", world.questions)
    with written_file(out / FILES[0]) as corpus, written_file(out / FILES[1]) as asked:
        written = write_lines(map(_corpus_line, passages), corpus)
        write_lines(map(_question_line, questions), asked)
    return written


def _corpus_line(passage: Passage) -> dict[str, Any]:
    return {"_id": passage.id, "title": passage.title, "text": passage.text}


def _question_line(question: Question) -> dict[str, Any]:
    line = {
        "id": question.id,
        "question": question.text,
        "answers": list(question.answers),
        "evidence": list(question.evidence),
        "hops": question.hops,
    }
    return line | ({"evidence_texts": list(question.evidence_texts)} if question.evidence_texts else {})
