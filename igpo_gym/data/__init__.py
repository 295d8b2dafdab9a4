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

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import igpo_gym.specs as specs
from igpo_gym.data.answers import answers_of
from igpo_gym.data.flaws import Flaws
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.joining import join
from igpo_gym.data.reading import read_set
from igpo_gym.data.rows import Row
from igpo_gym.data.scores import Metric, resolve_metric, score, scores
from igpo_gym.data.sets.hotpotqa import load_hotpotqa
from igpo_gym.data.sets.jsonl import load_jsonl
from igpo_gym.data.sets.two_wiki import ALIASES
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

T = TypeVar("T")

_FILES = {
    "nq": "nq:load_nq",
    "triviaqa": "triviaqa:load_triviaqa",
    "popqa": "popqa:load_popqa",
    "hotpotqa": "hotpotqa:load_hotpotqa",
    "2wiki": "two_wiki:load_2wiki",
    "musique": "musique:load_musique",
    "squad": "squad:load_squad",
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


def _with_aliases(place: str) -> list[Path]:
    """A file or folder, and 2WikiMultihopQA's file of aliases where it lies beside the file."""
    path = Path(place)
    beside = path.parent / ALIASES
    return [path, beside] if path.is_file() and beside.is_file() else [path] if place else []


def _of_folder(place: str) -> list[Path]:
    """All files of a data set of the hub's form that lies on this machine."""
    folder = Path(place.partition(":")[0])
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


for _name, _loader in _FILES.items():
    specs.register(
        "questions",
        _name,
        f"igpo_gym.data.sets.{_loader}",
        form=f"{_name}:FILE",
        files=_with_aliases if _name == "2wiki" else True,
    )
specs.register(
    "questions",
    "hf",
    "igpo_gym.data.sets.hub:load_hub",
    form="hf:NAME[:CONFIG][:SPLIT]",
    files=_of_folder,
    runs_code=True,
)
specs.register("questions", specs.PATH, "igpo_gym.data.layouts:load_any", form="FILE", files=_with_aliases)


def resolve_questions(questions: str | QuestionSet | Sequence[Question | Mapping[str, Any]]) -> QuestionSet:
    """A question set from a spec (``"world"``, ``"hotpotqa:dev.jsonl"``), from questions, or as it is.

    Questions may be records too, such as the rows of a ``datasets.Dataset``: their layout is found out like
    that of a file. " + " joins the sets of several specs. The same spec gives the same object again until its
    file changes. A set and questions may be given by the names of their fields, as JSON holds them.

    Raises SpecError for a spec of an unknown form and for questions that are none or share an id, DataError
    for what is wrong with a file or with records.
    """
    if isinstance(questions, Mapping):
        return resolve_questions(_set_of(questions))
    if isinstance(questions, QuestionSet):
        return _checked(questions)
    if isinstance(questions, str):
        sets = [_checked(specs.resolve("questions", part)) for part in specs.joined(questions)]
        return sets[0] if len(sets) == 1 else join(sets)
    if not isinstance(questions, Iterable):
        specs.checked("questions", questions)
    if hasattr(questions, "features"):  # of the library datasets
        from igpo_gym.data.arrow import records_as_meant

        questions = list(records_as_meant(questions))
    return _from_sequence(tuple(questions))


def _from_sequence(questions: tuple[Question | Mapping[str, Any], ...]) -> QuestionSet:
    count = len(questions)
    name = f"{count} question{'s' * (count != 1)}"
    cleaned: list[Question] = []
    for place, question in enumerate(questions, 1):
        if isinstance(question, Mapping):
            with suppress(TypeError):
                question = _of_fields(Question, question)
        if not isinstance(question, Question):
            if not cleaned and all(isinstance(each, Mapping) for each in questions):
                return replace(_of_records(questions), name=name)
            # It may hold an answer, and so is not shown.
            raise SpecError(f"item {place} of the questions is no Question, but a {type(question).__name__}")
        cleaned.append(_clean(question))
    return _checked(QuestionSet(name=name, questions=tuple(cleaned)))


def _of_records(records: Sequence[Any]) -> QuestionSet:
    """A set from the records of any known layout. Raises DataError, with the record, for others."""
    from igpo_gym.data.layouts import layout_of

    rows = [Row(record, number, "row") for number, record in enumerate(records, 1)]
    place = Path("the questions")
    return read_set("records", place, layout_of(rows[0], place).question, records=rows)


def _checked(questions: QuestionSet) -> QuestionSet:
    """The set, its answers without outer blanks. SpecError for one without questions, or two of one id.

    Those that are made only when they are asked for, as a sequence of its own does, are not looked through.
    """
    if not hasattr(questions.questions, "__len__"):
        kind = type(questions.questions).__name__
        raise SpecError(f"the questions of {questions.name!r} must be a list or a tuple, not a {kind}")
    if not len(questions.questions):
        raise SpecError(f"there are no questions in {questions.name!r}; give at least one")
    listed = questions.questions if isinstance(questions.questions, tuple | list) else ()
    seen: set[str] = set()
    for question in listed:
        if question.id in seen:
            raise SpecError(
                f"two questions have the id {question.id!r}; give each one of its own, for episodes, records "
                "and groups are told apart by it"
            )
        seen.add(question.id)
    if all(answer == answer.strip() for question in listed for answer in question.answers):
        return questions
    return replace(questions, questions=tuple(map(_clean, listed)))


def _set_of(fields: Mapping[str, Any]) -> QuestionSet:
    """A set from its fields. Raises SpecError, which shows no values, for other ones."""
    try:
        lists = {
            "questions": [_of_fields(Question, each) for each in fields["questions"]],
            "passages": [_of_fields(Passage, each) for each in fields.get("passages", ())],
        }
        flaws = _of_fields(Flaws, fields.get("flaws", {}))
        return _of_fields(QuestionSet, {**fields, **lists, "flaws": flaws})
    except (TypeError, KeyError, AttributeError):
        told = ", ".join(map(str, fields))
        raise SpecError(f"questions are a spec, Question objects or a QuestionSet, not {told}") from None


def _of_fields(kind: type[T], fields: Mapping[str, Any]) -> T:
    """An object from its fields, as they stand in JSON. Raises TypeError for others."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return kind(**values)


def _clean(question: Question) -> Question:
    """The question with its answers as loaders give them: without outer blanks and without repeats."""
    try:
        answers = answers_of(question.answers)
    except ValueError as problem:
        raise SpecError(f"question {question.id!r}: its answers hold {problem}") from None
    return question if answers == question.answers else replace(question, answers=answers)
