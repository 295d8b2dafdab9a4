"""SQuAD (Rajpurkar et al., 2016, 2018), and what is published in its form, as XQuAD and MLQA.

- The original: a JSON object whose ``data`` is a list of articles: ``{"title", "paragraphs": [{"context",
  "qas": [{"id", "question", "answers": [{"text", "answer_start"}], "is_impossible"}]}]}``.
- Hugging Face's: ``{"id", "title", "context", "question", "answers": {"text": [...], "answer_start":
  [...]}}``.

A question's paragraph is its evidence and becomes a passage, called by its title, which is the end of a URL,
or without one by its beginning. Questions that their paragraphs do not answer are left out. With
``#unanswerable=true`` they are kept: their answers are "unanswerable", "cannot be answered" and "unknown",
and every question of the set says that this is an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from igpo_gym.data.answers import HINT, UNANSWERABLE
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question

_NAME = 60
"""Of how many characters of its text the name of a passage without a title is made."""


def load_squad(path: str | Path, *, unanswerable: bool = False) -> QuestionSet:
    """The questions of a file in SQuAD's form, and the paragraphs of those that are kept.

    Raises DataError, with the line or entry, for what is not such a file.
    """
    found = read_set("squad", path, lambda row, corpus: question(row, corpus, unanswerable), parts=parts)
    return replace(found, name=f"{found.name}#unanswerable=true") if unanswerable else found


def parts(row: Row) -> Iterator[Row]:
    """The questions of an article, each with its title and the paragraph; one that stands alone is itself."""
    if row.get("paragraphs") is None:
        yield row
        return
    for paragraph in row.objects("paragraphs"):
        part = replace(row, fields=paragraph)
        shared = {"title": row.get("title"), "context": part.text("context")}
        for asked in part.objects("qas"):
            yield replace(row, fields=shared | asked)


def question(row: Row, corpus: GatheredPassages, unanswerable: bool = False) -> Question | None:
    """A record's question; its paragraph is added to the corpus. None for one that is left out."""
    context, title = row.text("context").strip(), row.get("title")
    spans = row.get("answers")
    texts = spans.get("text") if isinstance(spans, dict) else spans
    impossible = row.get("is_impossible") is True or texts == []
    if impossible and not unanswerable:
        return None
    name = unquote(title).replace("_", " ").strip() if isinstance(title, str) else ""
    evidence = corpus.add(name, context) if name else corpus.add(context[:_NAME].strip(), context)
    answers = UNANSWERABLE if impossible else row.answers("answers")
    text = row.text("question") + HINT * unanswerable
    return Question(row.id("id"), text, answers, (evidence,), 1, "squad")
