"""FanOutQA (Zhu et al., 2024, arXiv 2402.14116): questions that need many documents at once.

A JSON array of ``{"id", "question", "decomposition": [{"question", "answer", "evidence": {"title", ...},
"decomposition": [...]}], "answer", "categories"}``; the test split has ``necessary_evidence`` instead of a
decomposition and no answers. An answer is a dictionary, a list, a number, a bool or a text: one text of the
form of :mod:`igpo_gym.data.answers`, and its ``parts``, which the set's own metric counts. The evidence is
the titles of the pages in order, and hops is how many sub-questions have a page.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from igpo_gym.data.answers import answer_text
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.parts import parts_of
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question


def load_fanoutqa(path: str | Path) -> QuestionSet:
    """The questions of a FanOutQA file. DataError, with the entry, for what is not one.

    Warns that beliefs in such answers say little.
    """
    found = read_set("fanoutqa", path, question)
    longest = max(len(each.answers[0].split()) for each in found.questions)
    warnings.warn(
        f"{found.name} has answers of up to {longest} words: a belief, a mean over tokens, says little",
        stacklevel=2,
    )
    return found


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question."""
    value = row.field("answer")
    try:
        answer = answer_text(value)
    except ValueError as problem:
        raise ValueError(f"'answer' holds {problem}") from None
    pages = [*_pages(row.get("decomposition")), *row.items("necessary_evidence")]
    titles = [str(page["title"]).strip() for page in pages if isinstance(page, dict) and page.get("title")]
    evidence = tuple(dict.fromkeys(titles))
    return Question(
        row.id("id"),
        row.text("question"),
        (answer,),
        evidence,
        len(titles) or None,
        "fanoutqa",
        parts=parts_of(value),
    )


def _pages(steps: Any) -> Iterator[Any]:
    """The pages of sub-questions, those of their own sub-questions included, in order."""
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict):
            yield from _pages(step.get("decomposition"))
            if step.get("evidence"):
                yield step["evidence"]
