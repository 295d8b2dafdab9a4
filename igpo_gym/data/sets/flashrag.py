"""FlashRAG's form of many sets (Jin et al., 2024, arXiv 2405.13576).

JSON lines of ``{"id", "question", "golden_answers": [...], "metadata": {...}}``. Where the metadata holds
``supporting_facts`` with titles, those are the evidence and their number is the hops; a ``context`` of titles
and sentences becomes the passages. A question's source is the file's name, or its folder's where the file is
named after a split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question

SPLITS = frozenset({"train", "dev", "test", "valid", "validation"})
"""Names of files that say nothing about the set."""


def load_flashrag(path: str | Path) -> QuestionSet:
    """The questions of a FlashRAG file. DataError, with the line, for what is not one."""
    name = Path(path).name.partition(".")[0]
    # The folder is resolved, and not the file: in the hub's cache that is a link into a folder of blobs.
    source = Path(path).parent.resolve().name if name in SPLITS else name
    return read_set("flashrag", path, lambda row, corpus: question(row, corpus, source))


def question(row: Row, corpus: GatheredPassages, source: str = "flashrag") -> Question:
    """A record's question; a context is added to the corpus."""
    ids = {}
    for title, sentences in _context(row):
        ids[title] = corpus.add(title, "".join(each for each in sentences if isinstance(each, str)).strip())
    evidence = tuple(ids.get(title, title) for title in titles(row))
    text, answers = row.text("question"), row.answers("golden_answers")
    return Question(row.id("id"), text, answers, evidence, len(evidence) or None, source)


def titles(row: Row) -> tuple[str, ...]:
    """The titles of the supporting facts in a record's metadata, in order and without repeats."""
    facts = _metadata(row).get("supporting_facts")
    if isinstance(facts, dict):
        facts = facts.get("title")
    found = [each[0] if isinstance(each, list) and each else each for each in _list(facts)]
    return tuple(dict.fromkeys(title for title in found if isinstance(title, str)))


def _context(row: Row) -> list[tuple[str, list[str]]]:
    context = _metadata(row).get("context")
    if not isinstance(context, dict):
        return []
    pairs = zip(
        _list(context.get("title")), _list(context.get("sentences") or context.get("content")), strict=False
    )
    return [(title, _list(text)) for title, text in pairs if isinstance(title, str) and _list(text)]


def _metadata(row: Row) -> dict[str, Any]:
    value = row.get("metadata")
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
