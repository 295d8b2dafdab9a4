"""Several sets as one: their questions one after the other, over the passages of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import numbered
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import SpecError


def join(sets: Sequence[QuestionSet]) -> QuestionSet:
    """The questions and passages of all sets. What several of them hold alike is held once.

    Sets that share ids of questions, as those whose ids are line numbers do, get their ids told apart by the
    questions' source, or the set's number where the source is the same. A passage whose id is that of another
    one of an earlier set, as where both are called by their titles, gets the id ``id#2`` (then ``#3``, ...),
    in the evidence too.

    Raises SpecError for one question that several sets hold under one id, and for sets whose search differs
    (``flaws``).

    >>> def made(name):
    ...     question = Question("1", f"Who, {name}?", ("x",), ("Danzig",))
    ...     return QuestionSet(name, [question], [Passage("Danzig", "", name)])
    >>> [(question.id, question.evidence) for question in join([made("a"), made("b")]).questions]
    [('a/1', ('Danzig',)), ('b/1', ('Danzig#2',))]
    """
    name = " + ".join(each.name for each in sets)
    if len({each.flaws for each in sets}) > 1:
        raise SpecError(
            f"the sets of {name!r} are not searched alike: give shown= and miss= to all of them or to none"
        )
    passages: dict[str, Passage] = {}
    sets = [_within(passages, each) for each in sets]
    searchable = [each for each in sets if each.passages]
    known = all(each.fingerprint for each in searchable)
    return QuestionSet(
        name=name,
        questions=tuple(_apart(name, sets)),
        passages=tuple(passages.values()),
        fingerprint=" + ".join(each.fingerprint for each in searchable) if known else "",
        left_out=sum(each.left_out for each in sets),
        flaws=sets[0].flaws,
    )


def _within(passages: dict[str, Passage], questions: QuestionSet) -> QuestionSet:
    """Add a set's passages to those of earlier ones; returns the set with the ids that they have there."""
    renamed: dict[str, str] = {}
    for passage in questions.passages:
        if (id_ := _add(passages, passage)) != passage.id:
            renamed[passage.id] = id_
    if not renamed:
        return questions
    return replace(questions, questions=[_found_at(each, renamed) for each in questions.questions])


def _add(passages: dict[str, Passage], passage: Passage) -> str:
    """Add a passage to those of earlier sets; returns the id that it has there."""

    def is_another(id_: str) -> bool:
        there = passages.get(id_)
        return there is not None and (there.title, there.text) != (passage.title, passage.text)

    id_ = numbered(passage.id, is_another)
    passages.setdefault(id_, passage if id_ == passage.id else replace(passage, id=id_))
    return id_


def _found_at(question: Question, renamed: Mapping[str, str]) -> Question:
    evidence = tuple(renamed.get(id_, id_) for id_ in question.evidence)
    return question if evidence == question.evidence else replace(question, evidence=evidence)


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
