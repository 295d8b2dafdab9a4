"""Questions from plain JSON lines: ``{"id", "question", "answers"}``.

``golden_answers`` will do for ``answers`` (as FlashRAG and Search-R1 call them), a string for a list of one.
Optional: ``id`` (the line number if absent), ``evidence`` (passage ids in the order of the hops), ``hops``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igpo_gym.data.files import field, id_field, json_lines, text_field
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Question
from igpo_gym.errors import DataError


def load_jsonl(path: str | Path) -> QuestionSet:
    """The questions of a JSON-lines file, which brings no passages; the file's name is their ``source``.

    Raises DataError, with the line, for a line that is not such a question, an id that comes twice, and a
    file that is missing or has no questions.
    """
    path = Path(path)
    questions: dict[str, Question] = {}
    for line, record in json_lines(path):
        try:
            question = _question(record, line, path.name.partition(".")[0])
            if question.id in questions:
                raise ValueError(f"the question id {question.id!r} comes a second time")
        except ValueError as error:
            raise DataError(path, str(error), line) from None
        questions[question.id] = question
    if not questions:
        raise DataError(path, "the file has no questions")
    return QuestionSet(name=f"jsonl:{path}", questions=tuple(questions.values()))


def _question(record: dict[str, Any], line: int, source: str) -> Question:
    hops = record.get("hops")
    if hops is not None and (isinstance(hops, bool) or not isinstance(hops, int) or hops < 1):
        raise ValueError(f"'hops' must be a whole number from 1, found {hops!r:.60}")
    return Question(
        id=str(line) if record.get("id") is None else id_field(record, "id"),
        text=text_field(record, "question"),
        answers=_strings(field(record, "answers", "golden_answers"), "answers"),
        evidence=_strings(record.get("evidence") or [], "evidence"),
        hops=hops,
        source=source,
    )


def _strings(value: Any, name: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise ValueError(f"{name!r} must be a string or a list of strings, found {value!r:.60}")
    return tuple(values)
