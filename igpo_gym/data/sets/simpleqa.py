"""SimpleQA (Wei et al., 2024, arXiv 2411.04368): short facts.

CSV: ``metadata,problem,answer``; the metadata is a Python dictionary as text (topic, answer_type, urls). The
URLs are pages on which the answer was found, any of which will do, and so are not taken for evidence.
"""

from __future__ import annotations

from pathlib import Path

from igpo_gym.data.files import literal
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_simpleqa(path: str | Path) -> QuestionSet:
    """The questions of a SimpleQA file, with line numbers as ids. DataError for what is not one."""
    return read_set("simpleqa", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question."""
    metadata = row.field("metadata")
    if isinstance(metadata, str):
        metadata = literal(metadata)
    if not isinstance(metadata, dict):
        raise ValueError("'metadata' must be a dictionary, as Python writes it")
    return Question(str(row.number), row.text("problem"), row.answers("answer"), source="simpleqa")
