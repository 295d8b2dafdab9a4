"""NQ-open (Lee et al., 2019), the open-domain questions of Natural Questions.

JSON lines of ``{"question", "answer": [...]}``, without ids and evidence; DPR's ``answers`` will do.
"""

from __future__ import annotations

from pathlib import Path

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_nq(path: str | Path) -> QuestionSet:
    """The questions of an NQ-open file, whose ids are its line numbers. DataError for what is not one."""
    return read_set("nq", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question."""
    return Question(row.id("id"), row.text("question"), row.answers("answer", "answers"), source="nq")
