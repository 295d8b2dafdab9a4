"""A generated world: invented facts that no language model can know, for work that needs no download.

>>> world = load_world("test,hops=2")
>>> world.questions[0].text, world.questions[0].answers
('What is the capital of the region that contains Salman?', ('Tumvel',))
>>> [lead.phrases[0] for lead in world.leads(world.questions[0])]
['the region of Salman', 'the capital of the Ferhus Highlands']
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world.generator import Chain, Choice, Entity, Lead, World
from igpo_gym.data.world.names import SPLITS
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import SpecError
from igpo_gym.storage import written_file

__all__ = [
    "Chain",
    "Choice",
    "Entity",
    "Lead",
    "World",
    "WorldQuestions",
    "load_world",
    "parse_world",
    "write_world",
]


@dataclass(frozen=True, slots=True)
class WorldQuestions(QuestionSet):
    """A world's questions and corpus, with the world, which knows how each question came about."""

    world: World = field(default_factory=World)

    def leads(self, question: Question) -> tuple[Lead, ...]:
        """What has to be looked up for a question of this world, hop by hop."""
        return self.world.leads(self.world.number(question))


def _hops(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    return int(low), int(high if dash else low)


_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "documents": (int, "documents=5000"),
    "questions": (int, "questions=1000"),
    "hops": (_hops, "hops=2-3"),
    "coupling": (float, "coupling=0.8"),
    "seed": (int, "seed=7"),
    "split": (str, "split=test"),
}


def parse_world(options: str = "") -> World:
    """The world that ``options`` describe: a split's name and settings, in any order, joined by commas.

    Raises SpecError for an option that does not exist or a value that does not fit, naming the right ones.

    >>> parse_world("test,documents=5000,hops=2-3").documents
    5000
    """
    settings: dict[str, Any] = {}
    for option in filter(None, (part.strip() for part in options.split(","))):
        name, equals, value = option.partition("=")
        if not equals and name in SPLITS:
            name, value = "split", name
        known = ", ".join([*SPLITS, *(example for _, example in _OPTIONS.values())])
        if name not in _OPTIONS:
            raise SpecError(f"unknown world option {option!r}; choose among: {known}")
        if name in settings:
            raise SpecError(f"world option {name!r} is given twice")
        read, example = _OPTIONS[name]
        try:
            settings[name] = read(value)
        except ValueError:
            raise SpecError(f"bad value in world option {option!r}; write it like {example}") from None
    return World(**settings)


def load_world(options: str = "") -> WorldQuestions:
    """A generated world as a question set, held in memory: see :func:`parse_world` for the options."""
    world = parse_world(options)
    passages = tuple(world.passages())
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(f"{passage.id}\0{passage.title}\0{passage.text}\n".encode())
    return WorldQuestions(
        name=f"world:{options}" if options else "world",
        questions=tuple(world.all_questions()),
        passages=passages,
        fingerprint=digest.hexdigest(),
        world=world,
    )


def _untracked(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    return items


def write_world(
    out: Path, world: World, track: Callable[[Iterable[Any], str, int], Iterable[Any]] = _untracked
) -> None:
    """Stream ``corpus.jsonl`` and ``questions.jsonl`` into folder ``out``: any size, little memory.

    They are what ``read_corpus`` and ``load_jsonl`` read. Each file appears under its name only once it is
    whole; a file that is there is replaced. ``track`` is put around what is written, with its name and
    number, to show how far it is.
    """
    passages = track(world.passages(), "documents", world.documents)
    _write_lines(out / "corpus.jsonl", map(_corpus_line, passages))
    questions = track(world.all_questions(), "questions", world.questions)
    _write_lines(out / "questions.jsonl", map(_question_line, questions))


def _corpus_line(passage: Passage) -> dict[str, Any]:
    return {"_id": passage.id, "title": passage.title, "text": passage.text}


def _question_line(question: Question) -> dict[str, Any]:
    return {
        "id": question.id,
        "question": question.text,
        "answers": list(question.answers),
        "evidence": list(question.evidence),
        "hops": question.hops,
    }


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with written_file(path) as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
