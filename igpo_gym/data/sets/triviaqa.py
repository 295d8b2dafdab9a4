"""TriviaQA (Joshi et al., 2017, arXiv 1705.03551), in both layouts that it is published in.

- The original: a JSON object whose ``Data`` is a list of ``{"QuestionId", "Question", "Answer": {"Value",
  "Aliases", "HumanAnswers", ...}}``.
- Hugging Face's: ``{"question_id", "question", "answer": {"value", "aliases", ...}}``.

The answers are the value, then its aliases, then what people answered, as in the owners' script; the
normalized forms beside them are the owners' and are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igpo_gym.data.answers import answers_of
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_triviaqa(path: str | Path) -> QuestionSet:
    """The questions of a TriviaQA file. DataError, with the entry, for what is not one."""
    return read_set("triviaqa", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question."""
    answer = row.field("Answer", "answer")
    if not isinstance(answer, dict):
        raise ValueError(f"'Answer' must be an object with 'Value', found {type(answer).__name__}")
    part = Row(answer, row.number)
    texts: list[Any] = [part.field("Value", "value")]
    for name in ("Aliases", "aliases", "HumanAnswers", "human_answers"):
        texts += part.items(name)
    answers = answers_of([each for each in texts if str(each).strip()])
    id_ = row.own_id("QuestionId", "question_id")
    return Question(id_, row.text("Question", "question"), answers, source="triviaqa")
