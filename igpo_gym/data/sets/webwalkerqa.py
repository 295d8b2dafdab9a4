"""WebWalkerQA (Wu et al., 2025, arXiv 2501.07572): questions whose answer lies pages below a website's root.

JSON or JSON lines of ``{"question", "answer", "root_url", "info": {"hop", "domain", "type",
"difficulty_level", "source_website": [...], "golden_path", "lang"}}``; the card spells the fields with
capitals, which will do. The evidence is the URLs of the source pages, and hops is their number.
"""

from __future__ import annotations

from pathlib import Path

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_webwalkerqa(path: str | Path) -> QuestionSet:
    """The questions of a WebWalkerQA file, with line numbers as ids. DataError for what is not one."""
    return read_set("webwalkerqa", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question."""
    row.text("root_url", "Root_Url")
    info = row.field("info", "Info")
    if not isinstance(info, dict):
        raise ValueError(f"'info' must be an object, found {type(info).__name__}")
    pages = Row(info, row.number).get("source_website", "Source_Website") or []
    pages = [pages] if isinstance(pages, str) else pages
    if not isinstance(pages, list) or not all(isinstance(page, str) for page in pages):
        raise ValueError("'source_website' must be a list of URLs")
    evidence = tuple(dict.fromkeys(page.strip() for page in pages if page.strip()))
    text, answers = row.text("question", "Question"), row.answers("answer", "Answer")
    return Question(row.id("id"), text, answers, evidence, len(evidence) or None, "webwalkerqa")
