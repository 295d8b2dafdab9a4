"""HotpotQA (Yang et al., 2018, arXiv 1809.09600), in both layouts that it is published in.

- The original: a JSON array of ``{"_id", "question", "answer", "supporting_facts": [[title, number], ...],
  "context": [[title, [sentence, ...]], ...]}``.
- Hugging Face's: JSON lines (or an array) of the same with ``id``, and the pairs as a dict of two lists:
  ``"supporting_facts": {"title": [...], "sent_id": [...]}, "context": {"title": [...], "sentences": [...]}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from igpo_gym.data.files import (
    BROKEN,
    field,
    id_field,
    json_lines,
    open_bytes,
    parse_json,
    text_field,
    whole,
)
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import DataError
from igpo_gym.specs import fingerprint

_VERSION = 1
"""The version of how passages are made, part of the fingerprint."""


def load_hotpotqa(path: str | Path) -> QuestionSet:
    """The questions of a HotpotQA file, and the passages of all their contexts.

    A passage's id is its title; when a title comes again with another text, that passage is kept too and has
    the id ``title#2`` (then ``#3``, ...). A question's evidence is its distinct supporting titles in order,
    as the ids of the passages in its own context, and ``hops`` is their number.

    Raises DataError, with the line (in an array: the entry's number), for what is not such a file.
    """
    path = Path(path)
    questions: dict[str, Question] = {}
    passages = _Passages()
    for line, entry, record in _records(path):
        try:
            question = _question(record, passages)
            if question.id in questions:
                raise ValueError(f"the question id {question.id!r} comes a second time")
        except ValueError as error:
            raise DataError(path, str(error) if line else f"entry {entry}: {error}", line) from None
        questions[question.id] = question
    if not questions:
        raise DataError(path, "the file has no questions")
    return QuestionSet(
        name=f"hotpotqa:{path}",
        questions=tuple(questions.values()),
        passages=tuple(passages.by_id.values()),
        fingerprint=f"hotpotqa-{_VERSION}-{fingerprint(path)}",
    )


class _Passages:
    """The distinct passages seen so far."""

    def __init__(self) -> None:
        self.by_id: dict[str, Passage] = {}

    def add(self, title: str, text: str) -> str:
        """The id of the passage with this title and text, which is added if it is new."""
        id_, count = title, 1
        while (known := self.by_id.get(id_)) and known.text != text:
            count += 1
            id_ = f"{title}#{count}"
        self.by_id.setdefault(id_, Passage(id_, title, text))
        return id_


def _question(record: dict[str, Any], passages: _Passages) -> Question:
    id_ = id_field(record, "_id", "id")
    text, answer = text_field(record, "question"), text_field(record, "answer")
    ids: dict[str, str] = {}
    for title, sentences in _pairs(record, "context", "sentences"):
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise ValueError(f"the sentences of {title!r} in 'context' must be a list of strings")
        ids[title] = passages.add(title, "".join(sentences).strip())
    titles = dict.fromkeys(title for title, _ in _pairs(record, "supporting_facts", "sent_id"))
    evidence = tuple(ids.get(title, title) for title in titles)
    return Question(id_, text, (answer,), evidence, len(evidence) or None, "hotpotqa")


def _pairs(record: Mapping[str, Any], name: str, second: str) -> list[tuple[str, Any]]:
    """A field's (title, value) pairs, from a list of pairs or a dict of two lists."""
    value = field(record, name)
    if isinstance(value, dict):
        titles, others = value.get("title"), value.get(second)
        if not isinstance(titles, list) or not isinstance(others, list) or len(titles) != len(others):
            raise ValueError(f"{name!r} must have two lists of one length, 'title' and {second!r}")
        value = list(zip(titles, others, strict=True))
    well_formed = isinstance(value, list) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in value
    )
    if not well_formed:
        raise ValueError(f"{name!r} must be a list of pairs that begin with a title")
    return [(title, rest) for title, rest in value]


def _records(path: Path) -> Iterator[tuple[int | None, int, dict[str, Any]]]:
    """The file's objects with their line (None in an array) and entry numbers, from 1."""
    try:
        records = _array(path)
    except json.JSONDecodeError as error:
        raise DataError(path, f"not JSON: {error.msg}", error.lineno) from None
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"not JSON: {error}") from None
    if records is None:
        yield from ((line, entry, record) for entry, (line, record) in enumerate(json_lines(path), start=1))
        return
    for entry, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(path, f"entry {entry}: expected a JSON object, found {type(record).__name__}")
        yield None, entry, record


def _array(path: Path) -> list[Any] | None:
    """The file's JSON array, or None where it does not begin with one."""
    with open_bytes(path) as file, suppress(*BROKEN):
        if not file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            return None
    return list(parse_json(whole(path).decode("utf-8-sig")))
