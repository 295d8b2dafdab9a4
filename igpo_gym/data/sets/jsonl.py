"""Questions from plain JSON: ``{"id", "question", "answers"}`` a line (or an entry of an array).

``golden_answers`` (as FlashRAG and Search-R1 have it) or ``answer`` will do for ``answers``, and one
answer for a list of one. Optional: ``id``, ``idx``, ``_id``, ``qid`` or ``question_id`` (the line number if
absent), ``evidence`` (passage ids in the order of the hops), ``evidence_texts`` (for each what a passage has
to say to be it), ``hops``, ``source`` (the file's name up to its first dot if absent), ``parts`` (the texts
of an answer in parts, for the metrics that count them). Capitals in the names of fields do not matter, where
no field has the name without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from igpo_gym.data.files import id_text, shown
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_jsonl(path: str | Path) -> QuestionSet:
    """The questions of a JSON file, which brings no passages.

    Raises DataError, with the line, for a record that is not such a question, an id that comes twice, and a
    file that is missing or has no questions.
    """
    source = Path(path).name.partition(".")[0]
    return read_set("jsonl", path, lambda row, corpus: question(row, corpus, source))


def question(row: Row, corpus: GatheredPassages, source: str = "") -> Question:
    """A record's question."""
    # Of two names that differ by capitals the one without is the last.
    named = sorted(row.fields.items(), key=lambda field: field[0].islower())
    row = replace(row, fields={name.lower(): value for name, value in named})
    evidence, evidence_texts = _evidence(row)
    return Question(
        id=row.id("id", "idx", "_id", "qid", "question_id"),
        text=row.text("question"),
        answers=row.answers("answers", "golden_answers", "answer"),
        evidence=evidence,
        hops=row.hops(),
        source=row.text("source") if row.get("source") is not None else source,
        evidence_texts=evidence_texts,
        parts=_texts(row, "parts"),
    )


def _evidence(row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pieces of evidence, each once, and what each has to say; nothing, where its text is empty.

    Raises ValueError for a piece that has two texts, and for a text without a piece.
    """
    pieces, texts = _items(row, "evidence", id_text), _items(row, "evidence_texts")
    if len(pieces) != len(texts):  # which a question refuses, unless there are no texts
        return tuple(dict.fromkeys(filter(None, pieces))), tuple(filter(None, texts))
    said: dict[str, str] = {}
    for number, (piece, text) in enumerate(zip(pieces, texts, strict=True), 1):
        if text and (not piece or said.get(piece, "") not in ("", text)):
            raise ValueError(
                f"number {number} of 'evidence_texts' is for a piece of evidence that has another, or is none"
            )
        if piece:
            said[piece] = said.get(piece) or text
    return tuple(said), tuple(said.values()) if any(texts) else ()


def _texts(row: Row, name: str) -> tuple[str, ...]:
    return tuple(filter(None, _items(row, name)))


def _text(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _items(row: Row, name: str, read: Callable[[Any], str | None] = _text) -> list[str]:
    value: Any = row.get(name)
    values = value if isinstance(value, list) else [] if value is None else [value]
    texts = [text for each in values if (text := read(each)) is not None]
    if len(texts) < len(values):
        wrong = next(each for each in values if read(each) is None)
        raise ValueError(f"'{name}' must be a string or a list of strings, found {shown(wrong)}")
    return texts
