"""What a scorer is asked about a question: the same search, with evidence that is right, foreign, or faked.

Every transcript but ``bare`` has one turn, whose query is the question itself. The agent has no thought, but
for those transcripts whose name says so, so that the context ``evidence`` is asked the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import TypeVar

from igpo_gym.data.metrics import cover_exact_match
from igpo_gym.episode import Passage, Question, Segment
from igpo_gym.errors import SpecError
from igpo_gym.protocols import AnswerProbe, TextProtocol
from igpo_gym.protocols.grammar import THINK, THOUGHT
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.tools import search_call

T = TypeVar("T")

WORDINGS = ("I can answer now", "The search results say what the answer is")
"""What stands in the place of the probe's own sentence, in two other wordings."""

TRANSCRIPTS = {
    "bare": "the prompt alone",
    "gold": "a search that shows the gold evidence, hop by hop",
    "reversed": "the gold evidence in the opposite order",
    "foreign": "as many passages of about the same lengths, which are evidence of other questions and do not "
    "state the answer",
    "planted": "the foreign passages, with the answer's string put into the middle of the first",
    "contradicted": "the gold evidence, behind a thought that states a wrong answer",
    "claimed": "the foreign passages, behind a thought that states a wrong answer; asked for that answer",
    "unclaimed": "the foreign passages without a thought; asked for the wrong answer",
}
"""The transcripts, and what each holds. Where nothing else is said the gold answer is asked for."""

_DRAWN = 30
"""Among how many passages, or answers, the one whose length fits best is taken."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question with what is put into its transcripts."""

    question: Question
    gold: tuple[Passage, ...]
    """Its evidence, hop by hop."""
    foreign: tuple[Passage, ...]
    """As many passages that are evidence of other questions and do not state the answer."""
    planted: tuple[Passage, ...]
    """The foreign ones with the answer's string in the middle of the first."""
    wrong: str
    """The answer of another question, which stands in none of the passages."""


def make_cases(
    questions: Sequence[Question], gold: Sequence[tuple[Passage, ...]], limit: int | None = None
) -> list[Case]:
    """A case for each of the first ``limit`` questions; ``gold`` has the evidence of all of them.

    Draws are the same at every call.

    Raises SpecError where the other questions have too little evidence, or no other answer, to lend.
    """
    pool = list({passage.id: passage for passages in gold for passage in passages}.values())
    answers = list(dict.fromkeys(question.answers[0] for question in questions))
    pairs = islice(zip(questions, gold, strict=True), limit)
    return [_case(*pair, pool, answers) for pair in pairs]


def _case(question: Question, gold: tuple[Passage, ...], pool: list[Passage], answers: list[str]) -> Case:
    rng = Random(question.id)
    own = {passage.id for passage in gold} | set(question.evidence)
    foreign: list[Passage] = []
    for passage in gold:
        taken = own | {each.id for each in foreign}
        others = (each for each in rng.sample(pool, len(pool)) if each.id not in taken)
        lent = _first(each for each in others if not _states(each, question.answers))
        if not lent:
            raise SpecError(
                f"{len(pool)} passages of evidence are too few to lend question {question.id!r} "
                f"{len(gold)} of other questions; give more questions"
            )
        foreign.append(min(lent, key=lambda each: abs(len(each.text) - len(passage.text))))
    read = [*gold, *foreign]
    answer = question.answers[0]
    drawn = (each for each in rng.sample(answers, len(answers)) if not _alike(each, question.answers))
    wrong = _first(each for each in drawn if not any(_states(passage, [each]) for passage in read))
    if not wrong:
        raise SpecError(
            f"there is no wrong answer for question {question.id!r} among those of the others; give more "
            "questions"
        )
    first = replace(foreign[0], text=plant(foreign[0].text, answer))
    near = min(wrong, key=lambda each: abs(len(each) - len(answer)))
    return Case(question, gold, tuple(foreign), (first, *foreign[1:]), near)


def plant(text: str, answer: str) -> str:
    """The text with the answer between its two halves, parted from both by blanks.

    >>> plant("one two three four", "Danzig")
    'one two Danzig three four'
    """
    words = text.split(" ")
    half = len(words) // 2
    return " ".join([*words[:half], answer, *words[half:]])


def _first(items: Iterable[T]) -> list[T]:
    return list(islice(items, _DRAWN))


def _states(passage: Passage, answers: Sequence[str]) -> bool:
    return bool(cover_exact_match(f"{passage.title} {passage.text}", answers))


def _alike(answer: str, answers: Sequence[str]) -> bool:
    return any(cover_exact_match(answer, [each]) or cover_exact_match(each, [answer]) for each in answers)


def requests(case: Case, protocol: TextProtocol) -> dict[str, BeliefRequest]:
    """What is asked about a case, by name: ``TRANSCRIPTS``, and ``bare`` and ``gold`` in other wordings."""
    question = case.question
    segments = {
        "bare": protocol.prompt(question),
        "gold": _searched(protocol, question, case.gold),
        "reversed": _searched(protocol, question, case.gold[::-1]),
        "foreign": _searched(protocol, question, case.foreign),
        "planted": _searched(protocol, question, case.planted),
        "contradicted": _searched(protocol, question, case.gold, case.wrong),
        "claimed": _searched(protocol, question, case.foreign, case.wrong),
    }
    segments["unclaimed"] = segments["foreign"]
    asked = {
        name: (
            segments[name],
            (case.wrong,) if name.endswith("claimed") else question.answers,
            protocol.probe,
        )
        for name in TRANSCRIPTS
    }
    for number, probe in enumerate(wordings(protocol.probe), 1):
        asked |= {f"{name} {number}": (segments[name], question.answers, probe) for name in ("bare", "gold")}
    return {
        name: BeliefRequest(transcript, answers, probe, f"question {question.id!r}, {name}")
        for name, (transcript, answers, probe) in asked.items()
    }


def wordings(probe: AnswerProbe) -> list[AnswerProbe]:
    """The probe with other sentences in its thought; none for a probe without one.

    >>> [each.prefix for each in wordings(AnswerProbe("<think>Enough</think> ", ""))][0]
    '<think>I can answer now</think> '
    """
    head, closed, tail = probe.prefix.partition(THOUGHT)
    opening = THINK if head.startswith(THINK) else ""
    sentence = head.removeprefix(opening).strip()
    if not closed or not sentence:
        return []
    return [replace(probe, prefix=head.replace(sentence, each) + closed + tail) for each in WORDINGS]


def _searched(
    protocol: TextProtocol, question: Question, passages: Sequence[Passage], wrong: str = ""
) -> tuple[Segment, ...]:
    thought = f"I think the answer is {wrong}" if wrong else ""
    said = protocol.write(search_call(question.text), thought)
    reply = protocol.reply(protocol.passages(passages))
    return (*protocol.prompt(question), Segment("agent", "assistant", said), *reply)
