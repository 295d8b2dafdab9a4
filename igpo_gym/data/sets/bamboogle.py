"""Bamboogle (Press et al., 2023, arXiv 2210.03350): 125 questions of two hops. CSV: ``Question,Answer``."""

from __future__ import annotations

from pathlib import Path

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_bamboogle(path: str | Path) -> QuestionSet:
    """The questions of a Bamboogle file, with line numbers as ids. DataError for what is not one."""
    return read_set("bamboogle", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question; all of them have two hops."""
    text, answers = row.text("Question", "question"), row.answers("Answer", "answer")
    return Question(str(row.number), text, answers, hops=2, source="bamboogle")
