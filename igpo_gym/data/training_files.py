"""Questions as the rows that trainers read, and the files of them with a manifest.

- ``jsonl``: the package's own plain form (:mod:`igpo_gym.data.sets.jsonl`).
- ``verl``: parquet for verl with the agent loop of :mod:`igpo_gym.adapters.verl`.
- ``search-r1``: parquet with Search-R1's own prompt, which plays without this package.
- ``trl``: JSON lines with the prompt as messages, and the question's id beside it and in each of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from igpo_gym.data.preparation import Prepared
from igpo_gym.data.writing import write_lines, write_parquet
from igpo_gym.episode import Question
from igpo_gym.errors import choose
from igpo_gym.storage import check_new, check_writable, written_file, written_whole

Messages = Sequence[Mapping[str, str]]
"""The prompt of an episode in chat form."""

_SEARCH_R1 = (
    "Answer the given question. You must conduct reasoning inside <think> and </think> first every time you "
    "get new information. After reasoning, if you find you lack some knowledge, you can call a search engine "
    "by <search> query </search> and it will return the top searched results between <information> and "
    "</information>. You can search as many times as your want. If you find no further external knowledge "
    "needed, you can directly provide the answer inside <answer> and </answer>, without detailed "
    "illustrations. For example, <answer> Beijing </answer>. Question: {question}\n"
)
"""The prompt with which Search-R1 was trained, to the letter."""


def _jsonl(question: Question, messages: Messages, split: str, place: int) -> dict[str, Any]:
    known = {
        "evidence": list(question.evidence),
        "evidence_texts": list(question.evidence_texts),
        "hops": question.hops,
        "source": question.source,
        "parts": list(question.parts),
    }
    return {
        "id": question.id,
        "question": question.text,
        "answers": list(question.answers),
        **{name: value for name, value in known.items() if value},
    }


def _verl(question: Question, messages: Messages, split: str, place: int) -> dict[str, Any]:
    return {
        "id": question.id,
        "question": question.text,
        "golden_answers": list(question.answers),
        "data_source": question.source or "searchqa",
        "agent_name": "searchqa",
        "prompt": [dict(message) for message in messages],
        "ability": "fact-reasoning",
        "reward_model": {"style": "rule", "ground_truth": {"target": list(question.answers)}},
        "extra_info": {"index": place, "question_id": question.id, "split": split},
    }


def _search_r1(question: Question, messages: Messages, split: str, place: int) -> dict[str, Any]:
    row = _verl(question, messages, split, place)
    del row["agent_name"]
    text = question.text.strip()
    text = text if text.endswith("?") else f"{text}?"  # as its script does
    return row | {"prompt": [{"role": "user", "content": _SEARCH_R1.replace("{question}", text)}]}


def _trl(question: Question, messages: Messages, split: str, place: int) -> dict[str, Any]:
    prompt = [{**message, "question_id": question.id} for message in messages]
    return {"prompt": prompt, "question_id": question.id}


FORMS: Mapping[str, tuple[Callable[[Question, Messages, str, int], dict[str, Any]], str]] = {
    "jsonl": (_jsonl, "jsonl"),
    "verl": (_verl, "parquet"),
    "search-r1": (_search_r1, "parquet"),
    "trl": (_trl, "jsonl"),
}
"""For each form what makes a row, and the ending of its files' names."""


def check(folder: Path, form: str) -> None:
    """Raise SpecError for an unknown form, and FileExistsError for a folder that holds something."""
    choose(FORMS, form, "form of training files")
    check_new(folder)
    check_writable(folder, folder=True)


def write_files(
    folder: Path,
    prepared: Prepared,
    form: str,
    prompt: Callable[[Question], Messages],
    manifest: Mapping[str, Any],
) -> dict[str, Any]:
    """Write a file for each split and ``manifest.json`` into a new folder; returns the whole manifest.

    Raises FileExistsError for a folder that holds something. A write that fails leaves no folder.
    """
    check(folder, form)
    make, ending = FORMS[form]
    files: dict[str, Any] = {}
    with written_whole(folder) as scratch:
        for split, questions in (("train", prepared.train), ("validation", prepared.validation)):
            if questions:
                rows = [make(each, prompt(each), split, place) for place, each in enumerate(questions)]
                path = scratch / f"{split}.{ending}"
                if ending == "parquet":
                    write_parquet(rows, path)
                else:
                    with written_file(path) as file:
                        write_lines(rows, file)
                hashed = hashlib.sha256(path.read_bytes()).hexdigest()
                files[path.name] = {"questions": len(rows), "sha256": hashed}
        dropped = {reason: {"questions": len(ids), "ids": ids} for reason, ids in prepared.dropped.items()}
        whole = {"format": 1, **manifest, "form": form, "dropped": dropped, "files": files}
        text = json.dumps(whole, ensure_ascii=False, indent=2) + "\n"
        (scratch / "manifest.json").write_text(text, encoding="utf-8")
    return whole
