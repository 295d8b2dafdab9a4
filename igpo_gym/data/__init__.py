"""Questions: loaders of public formats, the generated world, and answer metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from igpo_gym.data.hotpotqa import load_hotpotqa
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.jsonl import load_jsonl
from igpo_gym.episode import Question
from igpo_gym.errors import SpecError

__all__ = ["QuestionSet", "load_hotpotqa", "load_jsonl", "resolve_questions"]

Stamp = tuple[int, int] | None


def _load_world(options: str) -> QuestionSet:
    from igpo_gym.data.world import load_world

    return load_world(options)


_SCHEMES: dict[str, tuple[str, Callable[[str], QuestionSet]]] = {
    "world": ("world[:OPTIONS]", _load_world),
    "hotpotqa": ("hotpotqa:FILE", load_hotpotqa),
    "jsonl": ("jsonl:FILE", load_jsonl),
}
"""What stands before the colon of a spec: how to write it, and the loader of what stands behind."""


def resolve_questions(questions: str | QuestionSet | Sequence[Question]) -> QuestionSet:
    """A question set from a spec (``"world"``, ``"hotpotqa:dev.jsonl"``), from questions, or as it is.

    The same spec gives the same object again until its file changes. Raises SpecError for a spec of an
    unknown form and for questions that are none or share an id, DataError for what is wrong with a file.
    """
    if isinstance(questions, QuestionSet):
        return questions
    if isinstance(questions, str):
        _, _, place = questions.partition(":")
        return _load(questions, _stamp(Path(place)))
    return _from_sequence(tuple(questions))


@lru_cache(maxsize=8)
def _load(spec: str, stamp: Stamp) -> QuestionSet:
    scheme, _, rest = spec.partition(":")
    if scheme not in _SCHEMES or (scheme != "world" and not rest):
        forms = ", ".join(form for form, _ in _SCHEMES.values())
        raise SpecError(f"unknown questions {spec!r}; give one of these forms: {forms}")
    return _SCHEMES[scheme][1](rest)


def _stamp(path: Path) -> Stamp:
    """What changes when a file does; None where there is no such file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size


def _from_sequence(questions: tuple[Question, ...]) -> QuestionSet:
    if not questions:
        raise SpecError("there are no questions")
    seen: set[str] = set()
    for question in questions:
        if not isinstance(question, Question):
            raise SpecError(f"expected a Question, found {type(question).__name__}: {question!r:.60}")
        if question.id in seen:
            raise SpecError(f"two questions have the id {question.id!r}")
        seen.add(question.id)
    return QuestionSet(name=f"{len(questions)} questions", questions=questions)
