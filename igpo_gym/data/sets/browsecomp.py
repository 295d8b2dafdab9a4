"""BrowseComp (Wei et al., 2025, arXiv 2504.12516) and BrowseComp-Plus (Chen et al., 2025, arXiv 2508.06600).

Both are published encrypted, so that they do not become training data, and are decrypted in memory alone.
Their questions are protected (:attr:`igpo_gym.episode.Question.protected`): what is written of them holds
hashes in the place of texts.

- BrowseComp: CSV ``problem,answer,problem_topic,canary``; problem and answer are encrypted with the canary.
- BrowseComp-Plus: parquet or JSON lines of ``{"query_id", "query", "answer", "evidence_docs": [{"docid",
  "text", "url"}], "gold_docs", "negative_docs"}``; all but the id is encrypted with one canary. Only
  questions, answers and the ids of the evidence are decrypted: the documents are a corpus of their own,
  which the owners publish.

The cipher is the owners': base64, and XOR with the SHA-256 of the canary, repeated.
"""

from __future__ import annotations

import base64
import hashlib
from itertools import cycle
from pathlib import Path

from igpo_gym.data.answers import answer_text
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.reading import GatheredPassages, read_set
from igpo_gym.data.rows import Row
from igpo_gym.episode import Question

PLUS_KEY = bytes.fromhex("20287cf38eca18a9153bbd95dab116d5d732bda95f99f74005974cd2feb3a232")
"""The SHA-256 of the canary of BrowseComp-Plus: the canary itself belongs in no file but the owners'."""


def load_browsecomp(path: str | Path) -> QuestionSet:
    """The questions of a BrowseComp file, with line numbers as ids. DataError for what is not one."""
    return read_set("browsecomp", path, question)


def load_browsecomp_plus(path: str | Path) -> QuestionSet:
    """The questions of a BrowseComp-Plus file. DataError, with the row, for what is not one."""
    return read_set("browsecomp-plus", path, plus_question)


def question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question."""
    key = key_of(row.text("canary"))
    text = decrypted(row.text("problem"), key, "problem")
    answers = (answer_text(decrypted(row.text("answer"), key, "answer")),)
    return Question(str(row.number), text, answers, source="browsecomp", protected=True)


def plus_question(row: Row, corpus: GatheredPassages) -> Question:
    """A record's question. Its evidence is the ids of the documents that hold the answer's evidence."""
    canary = row.get("canary")
    key = key_of(canary) if isinstance(canary, str) else PLUS_KEY
    text = decrypted(row.text("query"), key, "query")
    answers = (answer_text(decrypted(row.text("answer"), key, "answer")),)
    documents = row.items("evidence_docs") or row.items("gold_docs")
    if not all(isinstance(each, dict) for each in documents):
        raise ValueError("'evidence_docs' must be a list of objects")
    parts = [Row(each, row.number) for each in documents]
    evidence = tuple(dict.fromkeys(decrypted(part.text("docid"), key, "docid") for part in parts))
    id_ = row.own_id("query_id")
    hops = len(evidence) or None
    return Question(id_, text, answers, evidence, hops, "browsecomp-plus", protected=True)


def key_of(canary: str) -> bytes:
    """The key that a canary stands for."""
    return hashlib.sha256(canary.encode()).digest()


def decrypted(text: str, key: bytes, name: str) -> str:
    """The clear text of a field. Raises ValueError, without it, where the key does not fit.

    >>> decrypted("r30=", b"\\xeb\\x1c", "answer")
    'Da'
    """
    try:
        packed = base64.b64decode(text, validate=True)
        return bytes(a ^ b for a, b in zip(packed, cycle(key), strict=False)).decode()
    except ValueError:
        raise ValueError(f"{name!r} cannot be decrypted with the canary") from None
