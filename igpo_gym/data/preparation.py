"""Which questions of a set are trained on, which are held out, and which are left out, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from igpo_gym.data.metrics import normalize
from igpo_gym.data.subsets import digest
from igpo_gym.data.wording import forms, wording
from igpo_gym.episode import Question
from igpo_gym.errors import SpecError

ASKED_BEFORE = "asked before in this set"
NOT_ATTEMPTED = "not in the rollouts"
NEVER_SOLVED = "never solved in the rollouts"
ALWAYS_SOLVED = "always solved in the rollouts"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The questions of each file, and the ids of those that are in none, by reason."""

    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def prepare(
    questions: Sequence[Question],
    *,
    tests: Mapping[str, Sequence[Question]] | None = None,
    solved: Mapping[str, Sequence[bool]] | None = None,
    validation_size: float = 0,
    seed: int = 0,
) -> Prepared:
    """Divide questions for training.

    Left out, for the first reason that holds: a question that was asked before; one that a set of
    ``tests`` (by name) asks, with the same text or in the same words (``wording.forms``); and with
    ``solved``, which says of each attempt at a question whether it was solved, one without attempts, one that
    was never and one that was always solved. What is left for validation is decided by a hash of the seed
    and the text: a share below 1, with which a question stays on its side whatever else is in the file, or
    a number of questions, those of the lowest hash.

    Raises SpecError for protected questions, and where nothing is left to train on.

    >>> numbers = [Question(str(n), f"What is {n}?", (str(n),)) for n in range(10)]
    >>> made = prepare(numbers, validation_size=3, seed=1)
    >>> [question.id for question in made.validation], len(made.train)
    (['0', '6', '8'], 7)
    """
    if any(question.protected for question in questions):
        raise SpecError("protected questions are for tests alone, and are written to no training file")
    if validation_size < 0 or (validation_size > 1 and validation_size % 1):
        raise SpecError(f"what is held out is a share or a number of questions, not {validation_size:g}")
    why = _reasons(tests or {}, solved)
    kept: dict[str, Question] = {}
    asked = set[str]()
    dropped: dict[str, list[str]] = {}
    for question in questions:
        known = forms(question.text)
        reason = why(question, known) if asked.isdisjoint(known) else ASKED_BEFORE
        if reason:
            dropped.setdefault(reason, []).append(question.id)
        else:
            asked |= known
            kept[wording(question.text)] = question
    ranks = {text: _rank(seed, question) for text, question in kept.items()}
    if validation_size < 1:
        held = {text for text, rank in ranks.items() if rank < validation_size * 2**64}
    else:
        held = set(sorted(ranks, key=lambda text: (ranks[text], text))[: int(validation_size)])
    train = tuple(question for text, question in kept.items() if text not in held)
    if not train:
        told = "; ".join(f"{len(ids)} {reason}" for reason, ids in dropped.items()) or "none is dropped"
        raise SpecError(f"no question is left to train on: {len(held)} for validation; {told}")
    return Prepared(
        train,
        tuple(question for text, question in kept.items() if text in held),
        {reason: tuple(ids) for reason, ids in dropped.items()},
    )


def _rank(seed: int, question: Question) -> int:
    """By the metrics' normal form, which is as published: no version moves a question to another side."""
    return digest(seed, normalize(question.text) or question.text.strip())


def _reasons(
    tests: Mapping[str, Sequence[Question]], solved: Mapping[str, Sequence[bool]] | None
) -> Callable[[Question, frozenset[str]], str]:
    """What tells, of a question and its forms, why it is left out; empty where it is not."""
    exact = {name: {question.text.strip() for question in asked} for name, asked in tests.items()}
    alike = {
        name: {form for question in asked for form in forms(question.text)} for name, asked in tests.items()
    }

    def why(question: Question, known: frozenset[str]) -> str:
        for name in exact:
            if question.text.strip() in exact[name]:
                return f"asked by {name}"
            if not known.isdisjoint(alike[name]):
                return f"asked by {name}, once normalized"
        if solved is None:
            return ""
        attempts = solved.get(question.id, ())
        if not attempts:
            return NOT_ATTEMPTED
        return NEVER_SOLVED if not any(attempts) else ALWAYS_SOLVED if all(attempts) else ""

    return why
