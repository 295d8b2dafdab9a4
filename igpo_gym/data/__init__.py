"""Questions: loaders of public formats, the generated world, and answer metrics.

What ``questions=`` takes is registered here. A loader of one's own is a function from what stands behind the
colon to a QuestionSet:

>>> from igpo_gym.specs import register, unregister
>>> @register("questions", "single", form="single:WORD")
... def load_single(word: str, times: int = 1) -> QuestionSet:
...     return QuestionSet("single", tuple(Question(str(n), f"{word}?", (word,)) for n in range(times)))
>>> [question.text for question in resolve_questions("single:Paris#times=2").questions]
['Paris?', 'Paris?']
>>> unregister("questions", "single")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import igpo_gym.specs as specs
from igpo_gym.data.hotpotqa import load_hotpotqa
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.jsonl import load_jsonl
from igpo_gym.data.scores import Metric, resolve_metric, score, scores
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import SpecError

__all__ = [
    "Metric",
    "QuestionSet",
    "load_hotpotqa",
    "load_jsonl",
    "resolve_metric",
    "resolve_questions",
    "score",
    "scores",
]

specs.register("questions", "world", "igpo_gym.data.world:load_world", form="world[:SPLIT][#OPTIONS]")
specs.register(
    "questions", "hotpotqa", "igpo_gym.data.hotpotqa:load_hotpotqa", form="hotpotqa:FILE", files=True
)
specs.register("questions", "jsonl", "igpo_gym.data.jsonl:load_jsonl", form="jsonl:FILE", files=True)
specs.register("questions", specs.PATH, "igpo_gym.data.layouts:load_any", form="FILE")


def resolve_questions(questions: str | QuestionSet | Sequence[Question]) -> QuestionSet:
    """A question set from a spec (``"world"``, ``"hotpotqa:dev.jsonl"``), from questions, or as it is.

    " + " joins the sets of several specs. The same spec gives the same object again until its file changes.
    Raises SpecError for a spec of an unknown form and for questions that are none or share an id, DataError
    for what is wrong with a file.
    """
    if isinstance(questions, QuestionSet):
        return questions
    if isinstance(questions, str):
        sets: list[QuestionSet] = [specs.resolve("questions", part) for part in specs.joined(questions)]
        return sets[0] if len(sets) == 1 else _join(sets)
    if not isinstance(questions, Iterable):
        specs.checked("questions", questions)
    return _from_sequence(tuple(questions))


def _from_sequence(questions: tuple[Question, ...]) -> QuestionSet:
    if not questions:
        raise SpecError("there are no questions")
    seen: set[str] = set()
    for place, question in enumerate(questions, 1):
        if not isinstance(question, Question):  # which may hold an answer, and so is not shown
            raise SpecError(f"item {place} of the questions is no Question, but a {type(question).__name__}")
        if question.id in seen:
            raise SpecError(f"two questions have the id {question.id!r}")
        seen.add(question.id)
    return QuestionSet(name=f"{len(questions)} questions", questions=questions)


def _join(sets: Sequence[QuestionSet]) -> QuestionSet:
    """The questions and passages of all sets. What several of them hold alike is held once."""
    name = " + ".join(each.name for each in sets)
    questions: dict[str, Question] = {}
    passages: dict[str, Passage] = {}
    for each in sets:
        for question in each.questions:
            if question.id in questions:
                raise SpecError(f"two questions of {name!r} have the id {question.id!r}")
            questions[question.id] = question
        for passage in each.passages:
            if passages.setdefault(passage.id, passage) != passage:
                raise SpecError(
                    f"two passages of {name!r} have the id {passage.id!r}; join the corpora yourself"
                )
    searchable = [each for each in sets if each.passages]
    known = all(each.fingerprint for each in searchable)
    return QuestionSet(
        name=name,
        questions=tuple(questions.values()),
        passages=tuple(passages.values()),
        fingerprint=" + ".join(each.fingerprint for each in searchable) if known else "",
    )
