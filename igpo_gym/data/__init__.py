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

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import igpo_gym.specs as specs
from igpo_gym.data.answers import answers_of
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.sets.hotpotqa import load_hotpotqa
from igpo_gym.data.sets.jsonl import load_jsonl
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import SpecError

__all__ = ["QuestionSet", "load_hotpotqa", "load_jsonl", "resolve_questions"]

_FILES = {
    "nq": "nq:load_nq",
    "triviaqa": "triviaqa:load_triviaqa",
    "popqa": "popqa:load_popqa",
    "hotpotqa": "hotpotqa:load_hotpotqa",
    "2wiki": "two_wiki:load_2wiki",
    "musique": "musique:load_musique",
    "bamboogle": "bamboogle:load_bamboogle",
    "strategyqa": "strategyqa:load_strategyqa",
    "fanoutqa": "fanoutqa:load_fanoutqa",
    "simpleqa": "simpleqa:load_simpleqa",
    "frames": "frames:load_frames",
    "webwalkerqa": "webwalkerqa:load_webwalkerqa",
    "browsecomp": "browsecomp:load_browsecomp",
    "browsecomp-plus": "browsecomp:load_browsecomp_plus",
    "verl": "verl:load_verl",
    "flashrag": "flashrag:load_flashrag",
    "jsonl": "jsonl:load_jsonl",
    "csv": "table:load_csv",
}
"""The sets that are files, and where in :mod:`igpo_gym.data.sets` their loaders are."""

specs.register("questions", "world", "igpo_gym.data.world:load_world", form="world[:SPLIT][#OPTIONS]")
for _name, _loader in _FILES.items():
    specs.register("questions", _name, f"igpo_gym.data.sets.{_loader}", form=f"{_name}:FILE", files=True)
specs.register(
    "questions", "hf", "igpo_gym.data.sets.hub:load_hub", form="hf:NAME[:CONFIG][:SPLIT]", runs_code=True
)
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
    cleaned: list[Question] = []
    for place, question in enumerate(questions, 1):
        if not isinstance(question, Question):  # which may hold an answer, and so is not shown
            raise SpecError(f"item {place} of the questions is no Question, but a {type(question).__name__}")
        if question.id in seen:
            raise SpecError(f"two questions have the id {question.id!r}")
        seen.add(question.id)
        cleaned.append(_clean(question))
    count = len(questions)
    return QuestionSet(name=f"{count} question{'s' * (count != 1)}", questions=tuple(cleaned))


def _clean(question: Question) -> Question:
    """The question with its answers as loaders give them: without outer blanks and without repeats."""
    try:
        answers = answers_of(question.answers)
    except ValueError as problem:
        raise SpecError(f"question {question.id!r}: its answers hold {problem}") from None
    return question if answers == question.answers else replace(question, answers=answers)


def _join(sets: Sequence[QuestionSet]) -> QuestionSet:
    """The questions and passages of all sets. What several of them hold alike is held once.

    Sets that share ids of questions, as those whose ids are line numbers do, get their ids told apart by the
    questions' source, or the set's number where the source is the same.
    """
    name = " + ".join(each.name for each in sets)
    questions = _apart(name, sets)
    passages: dict[str, Passage] = {}
    for each in sets:
        for passage in each.passages:
            if passages.setdefault(passage.id, passage) != passage:
                raise SpecError(
                    f"two passages of {name!r} have the id {passage.id!r}; join the corpora yourself"
                )
    searchable = [each for each in sets if each.passages]
    known = all(each.fingerprint for each in searchable)
    return QuestionSet(
        name=name,
        questions=tuple(questions),
        passages=tuple(passages.values()),
        fingerprint=" + ".join(each.fingerprint for each in searchable) if known else "",
        left_out=sum(each.left_out for each in sets),
    )


def _apart(name: str, sets: Sequence[QuestionSet]) -> list[Question]:
    """The questions of all sets with unique ids. SpecError for one question that several of them hold."""
    seen: dict[str, Question] = {}
    count: Counter[str] = Counter()
    for each in sets:
        for question in each.questions:
            count[question.id] += 1
            other = seen.setdefault(question.id, question)
            if count[question.id] > 1 and (other.text, other.answers) == (question.text, question.answers):
                raise SpecError(f"two questions of {name!r} have the id {question.id!r} and ask the same")
    found: list[Question] = []
    prefixes: set[str] = set()
    for number, each in enumerate(sets, 1):
        if all(count[question.id] == 1 for question in each.questions):
            found += each.questions
            continue
        own = {question.source or each.name.partition(":")[0] for question in each.questions}
        mark = "" if own.isdisjoint(prefixes) else f"#{number}"
        prefixes |= own
        for question in each.questions:
            source = question.source or each.name.partition(":")[0]
            found.append(replace(question, id=f"{source}{mark}/{question.id}"))
    if repeated := [id_ for id_, n in Counter(question.id for question in found).items() if n > 1]:
        raise SpecError(f"two questions of {name!r} have the id {repeated[0]!r}")
    return found
