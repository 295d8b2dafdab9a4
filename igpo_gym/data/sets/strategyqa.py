"""StrategyQA (Geva et al., 2021, arXiv 2101.02235): yes-or-no questions whose steps are implicit.

A JSON array of ``{"qid", "question", "answer": true or false, "facts", "decomposition", "evidence"}``.
Hops are the steps of the decomposition. The evidence of an annotator is a list for each step of paragraph
ids (``"Albany, Georgia-1"``), ``"operation"`` or ``"no_evidence"``; a question's evidence is the titles
of the first annotator who named a paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question

_PARAGRAPH = re.compile(r"(.+)-\d+")


def load_strategyqa(path: str | Path) -> QuestionSet:
    """The questions of a StrategyQA file. DataError, with the entry, for what is not one."""
    return read_set("strategyqa", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question."""
    if not isinstance(row.field("answer"), bool):
        raise ValueError(f"'answer' must be true or false, found {type(row.field('answer')).__name__}")
    titles: tuple[str, ...] = ()
    for annotator in row.items("evidence"):
        found = [match[1] for text in _texts(annotator) if (match := _PARAGRAPH.fullmatch(text))]
        titles = titles or tuple(dict.fromkeys(found))
    steps = row.items("decomposition")
    id_, text, answers = row.own_id("qid"), row.text("question"), row.answers("answer")
    return Question(id_, text, answers, titles, len(steps) or None, "strategyqa")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value if isinstance(value, list) else ():
        yield from _texts(each)
