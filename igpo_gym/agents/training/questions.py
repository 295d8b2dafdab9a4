"""The questions of a run: those to train on, and those to validate on."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace

from igpo_gym.agents.training.settings import Settings
from igpo_gym.data import resolve_questions
from igpo_gym.data.interface import QuestionSet
from igpo_gym.errors import SpecError
from igpo_gym.specs import Spec

logger = logging.getLogger(__name__)


def question_sets(settings: Settings) -> tuple[QuestionSet, QuestionSet]:
    """The questions to train on, and those to validate on, at most ``validation_questions`` of them.

    Without ``validation``, a world is validated on its split "validation", which shares no name with others.
    Of other questions those are held out whose ids have the lowest hashes: the same ones on every machine.
    Raises SpecError where there is a single question.
    """
    count, questions = settings.validation_questions, resolve_questions(settings.questions)
    chosen = settings.validation or _other_world(settings.questions)
    if chosen is not None:
        unseen = resolve_questions(chosen)
        return questions, replace(unseen, questions=unseen.questions[:count])
    total = len(questions.questions)
    if total < 2:
        raise SpecError(f"{questions.name!r} has a single question: give validation= others")
    ranked = sorted(questions.questions, key=lambda each: _hash(each.id))
    held = {each.id for each in ranked[: max(1, min(count, total // 10))]}
    logger.warning(
        "%d of the %d questions of %s are held out for validation; validation= chooses others",
        *(len(held), total, questions.name),
    )
    kept, left = ([q for q in questions.questions if (q.id in held) is out] for out in (False, True))
    return replace(questions, questions=tuple(kept)), replace(questions, questions=tuple(left))


def _other_world(questions: str) -> str | None:
    """The validation split of a world, with its settings; None for what is no world, or that split itself."""
    spec = Spec.parse(questions)
    if " + " in questions or spec.place not in ("world", "world:train", "world:test"):
        return None
    return str(Spec("world:validation", spec.options))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass")).digest()
