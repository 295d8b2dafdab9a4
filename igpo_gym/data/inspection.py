"""What stands in a set of questions, and what is odd in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from igpo_gym.data.answers import UNANSWERABLE
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.metrics import normalize
from igpo_gym.data.protection import shown
from igpo_gym.data.wording import wording
from igpo_gym.episode import Question

LONG_ANSWER = 20
"""Words above which an answer is called very long: a belief is a mean over its tokens, and says little."""

MANY_ANSWERS = 50
"""Aliases above which a question is said to have many."""


@dataclass(frozen=True, slots=True)
class Odd:
    """Something about some questions that a user may want to know."""

    what: str
    questions: int
    ids: tuple[str, ...]
    """Those of the first five."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question to look at."""

    id: str
    question: str
    answers: tuple[str, ...]
    hops: int | None
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """A set of questions in numbers. Ranges are the least, the median and the most."""

    name: str
    questions: int
    left_out: int
    """How many records of the file are no questions of the set, on purpose."""
    protected: int
    """How many questions are protected; their texts are hidden here too."""
    sources: dict[str, int]
    hops: dict[str, int]
    answers: tuple[float, float, float]
    """Answers of a question."""
    answer_words: tuple[float, float, float]
    """Words of a question's first answer."""
    with_evidence: int
    evidence: tuple[float, float, float]
    """Pieces of evidence of the questions that have some."""
    passages: int
    examples: tuple[Example, ...]
    odd: tuple[Odd, ...]


def inspect(questions: QuestionSet, examples: int = 3) -> Inspection:
    """Look a set through.

    >>> from igpo_gym.data import resolve_questions
    >>> found = inspect(resolve_questions("world:test"), examples=0)
    >>> found.questions, found.hops, found.answers
    (500, {'1': 152, '2': 179, '3': 169}, (1.0, 1.0, 1.0))
    """
    every = questions.questions
    proven = [len(each.evidence) for each in every if each.evidence]
    return Inspection(
        name=questions.name,
        questions=len(every),
        left_out=questions.left_out,
        protected=sum(each.protected for each in every),
        sources=_counts(each.source or "unnamed" for each in every),
        hops=_counts("unknown" if each.hops is None else str(each.hops) for each in every),
        answers=_range(len(each.answers) for each in every),
        answer_words=_range(len(each.answers[0].split()) for each in every),
        with_evidence=len(proven),
        evidence=_range(proven),
        passages=len(questions.passages),
        examples=tuple(_example(each) for each in every[:examples]),
        odd=tuple(_odd(questions)),
    )


def _odd(questions: QuestionSet) -> Iterator[Odd]:
    every = questions.questions
    asked = Counter(wording(each.text) for each in every)
    there = {passage.id for passage in questions.passages}
    tests = (
        ("the same question is asked several times", lambda q: asked[wording(q.text)] > 1),
        ("an answer has an empty normal form, and is compared as written", _empty),
        (f"an answer of more than {LONG_ANSWER} words: a belief in it says little", _long),
        (f"more than {MANY_ANSWERS} answers", lambda q: len(q.answers) > MANY_ANSWERS),
        ("an answer stands in the question", _given),
        ("an answer looks like a list", lambda q: any(a[0] + a[-1] in ("[]", "{}") for a in q.answers)),
        ("answers that are equal once normalized", _alike),
        ("control characters in a text", lambda q: any(map(_unprintable, (q.text, *q.answers)))),
        ("the question cannot be answered", lambda q: q.answers == UNANSWERABLE),
        (
            "evidence that is none of the set's passages",
            lambda q: bool(there) and not there.issuperset(q.evidence),
        ),
    )
    for what, test in tests:
        ids = [each.id for each in every if test(each)]
        if ids:
            yield Odd(what, len(ids), tuple(ids[:5]))


def _empty(question: Question) -> bool:
    return not all(map(normalize, question.answers))


def _long(question: Question) -> bool:
    return any(len(answer.split()) > LONG_ANSWER for answer in question.answers)


def _given(question: Question) -> bool:
    text = f" {normalize(question.text)} "
    normal = {normalize(answer) for answer in question.answers} - {"", "yes", "no"}
    return any(f" {answer} " in text for answer in normal)


def _alike(question: Question) -> bool:
    return len(set(map(normalize, question.answers))) < len(question.answers)


def _unprintable(text: str) -> bool:
    return not text.replace("\n", "").replace("\t", "").isprintable() and any(
        ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in text if sign not in "\n\t"
    )


def _example(question: Question) -> Example:
    def all_shown(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(shown(question, text) for text in texts)

    text = shown(question, question.text)
    return Example(
        question.id, text, all_shown(question.answers), question.hops, all_shown(question.evidence)
    )


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda each: (len(each[0]), each[0])))


def _range(values: Iterable[int]) -> tuple[float, float, float]:
    found = sorted(values) or [0]
    return float(found[0]), float(median(found)), float(found[-1])
