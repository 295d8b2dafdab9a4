"""Rows for verl, in both shapes of the ground truth. Parquet, or the same as JSON lines.

- Search-R1's: ``{"id", "question", "golden_answers", "data_source", "prompt", "ability", "reward_model":
  {"ground_truth": {"target": [...]}}, "extra_info"}``.
- that of IGPO, DeepResearcher and DR-Venus: ``{"data_source", "prompt": [{"content", "role"}],
  "reward_model": {"ground_truth": "a<|answer_split|>b"}, "extra_info": {"index"}}``.

The question is the field ``question``, or else the last message of the user. The id is ``id`` or
``extra_info.index``; where several ``data_source`` share ids, each begins with its own. The evidence is
that of the ``metadata``, where there is some (:mod:`igpo_gym.data.sets.flashrag`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igpo_gym.data.answers import answers_of
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.data.sets.flashrag import titles
from igpo_gym.episode import Question

SPLIT = "<|answer_split|>"
"""What stands between the aliases of an answer in IGPO's files."""

_TEMPLATE = "Answer the given question."
"""How Search-R1's prompt begins; the question follows the last ``Question:``."""


def load_verl(path: str | Path) -> QuestionSet:
    """The questions of a file for verl. DataError, with the row, for what is not one."""
    return read_set("verl", path, question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question."""
    extra = row.get("extra_info")
    extra = Row(extra if isinstance(extra, dict) else {}, row.number)
    id_ = row.id("id") if row.get("id") is not None else extra.id("index")
    source = row.text("data_source").strip()
    evidence = titles(row)
    text = _text(row, extra)
    return Question(id_, text, _answers(row), evidence, len(evidence) or None, source)


def _answers(row: Row) -> tuple[str, ...]:
    model = row.field("reward_model")
    truth: Any = model.get("ground_truth") if isinstance(model, dict) else None
    if isinstance(truth, dict):
        truth = truth.get("target")
    elif isinstance(truth, str):
        truth = [part for part in truth.split(SPLIT) if part.strip()]
    if truth is None:
        raise ValueError("no 'reward_model.ground_truth', a text or an object with 'target'")
    try:
        return answers_of(truth)
    except ValueError as problem:
        raise ValueError(f"'reward_model.ground_truth' holds {problem}") from None


def _text(row: Row, extra: Row) -> str:
    for part in (row, extra):
        if isinstance(text := part.get("question"), str):
            return text
    messages = row.field("prompt")
    said = [
        each["content"]
        for each in (messages if isinstance(messages, list) else ())
        if isinstance(each, dict) and each.get("role") == "user" and isinstance(each.get("content"), str)
    ]
    if not said:
        raise ValueError("no 'question', and no message of the user in 'prompt'")
    last: str = said[-1]
    return last.rpartition("Question:")[2].strip() if last.startswith(_TEMPLATE) else last
