"""The settings of an environment on the tiny corpus, which several tests play in."""

from __future__ import annotations

from typing import Any

import pytest

from igpo_gym.data.interface import QuestionSet
from igpo_gym.search.bm25 import BM25Index
from tests.conftest import MentionScorer


@pytest.fixture
def settings(question_set: QuestionSet, index: BM25Index, scorer: MentionScorer) -> dict[str, Any]:
    return {"questions": question_set, "search": index, "scorer": scorer, "max_turns": 3, "top_k": 2}
