"""PopQA (Mallen et al., 2023, arXiv 2212.10511): questions about rare and popular entities.

A table with tabs: ``id, subj, prop, obj, ..., question, possible_answers``, the last a JSON list in its cell.
The object stands first among the answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igpo_gym.data.answers import answers_of
from igpo_gym.data.files import parse_json
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_popqa(path: str | Path) -> QuestionSet:
    """The questions of a PopQA file. DataError, with the line, for what is not one."""
    return read_set("popqa", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question."""
    answers: Any = row.field("possible_answers")
    if isinstance(answers, str):
        try:
            answers = parse_json(answers)
        except ValueError:
            raise ValueError("'possible_answers' must be a JSON list of texts") from None
    if not isinstance(answers, list):
        raise ValueError("'possible_answers' must be a JSON list of texts")
    first = row.get("obj")
    found = answers_of(answers)
    if first in found:
        found = tuple(dict.fromkeys((first, *found)))
    return Question(row.id("id"), row.text("question"), found, source="popqa")
