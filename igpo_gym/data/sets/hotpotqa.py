"""HotpotQA (Yang et al., 2018, arXiv 1809.09600), in both layouts that it is published in.

- The original: a JSON array of ``{"_id", "question", "answer", "supporting_facts": [[title, number], ...],
  "context": [[title, [sentence, ...]], ...]}``.
- Hugging Face's: JSON lines, an array or parquet of the same with ``id``, and the pairs as a dict of two
  lists: ``"supporting_facts": {"title": [...], "sent_id": [...]}, "context": {"title": [...], "sentences":
  [...]}``.

A passage's id is its title; when a title comes again with another text, that passage is kept too and has
the id ``title#2`` (then ``#3``, ...). A question's evidence is its distinct supporting titles in order,
as the ids of the passages in its own context, and ``hops`` is their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from igpo_gym.data.files import parse_json
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_hotpotqa(path: str | Path) -> QuestionSet:
    """The questions of a HotpotQA file, and the passages of all their contexts.

    Raises DataError, with the line (in an array: the entry's number), for what is not such a file.
    """
    return read_set("hotpotqa", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question; its context is added to the corpus."""
    id_, text, answers = row.own_id("_id", "id"), row.text("question"), row.answers("answer")
    ids: dict[str, str] = {}
    for title, paragraph in paragraphs(row):
        ids[title] = corpus.add(title, paragraph)
    titles = dict.fromkeys(title for title, _ in pairs(row, "supporting_facts", "sent_id"))
    evidence = tuple(ids.get(title, title) for title in titles)
    return Question(id_, text, answers, evidence, len(evidence) or None, "hotpotqa")


def paragraphs(row: Row) -> Iterator[tuple[str, str]]:
    """The title and the text of each paragraph in a record's context."""
    for number, (title, sentences) in enumerate(pairs(row, "context", "sentences"), 1):
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise ValueError(f"the sentences of paragraph {number} in 'context' must be a list of strings")
        yield title, "".join(sentences).strip()


def pairs(row: Row, name: str, second: str) -> list[tuple[str, Any]]:
    """A field's (title, value) pairs, from a list of pairs or a dict of two lists, or either as JSON text."""
    value = row.field(name)
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = parse_json(value)
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
