"""The search of an oracle: gold passages, of the episode's own question alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Episode, ToolCall
from igpo_gym.errors import SpecError
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools.evidence import GoldEvidence
from tests.conftest import PASSAGES, QUESTIONS


def titles(tool: GoldEvidence, number: int, *queries: str) -> list[list[str]]:
    call = ToolCall("search", {"query": list(queries)})
    (result,) = tool.run([(Episode(QUESTIONS[number], ()), call)])
    return [[passage.title for passage in found] for found in result.passages]


def test_every_query_finds_the_evidence_of_its_own_question(question_set: QuestionSet) -> None:
    tool = GoldEvidence(question_set)
    assert titles(tool, 1, "Odra", "") == [["The Tin Drum", "Günter Grass"]] * 2
    assert titles(tool, 2, "The Tin Drum") == [["Odra"]]
    assert tool.run([]) == []


def test_evidence_that_lies_in_an_index_is_found_there(index: BM25Index) -> None:
    alone = QuestionSet("alone", QUESTIONS)
    assert titles(GoldEvidence(alone, index), 1, "x") == [["The Tin Drum", "Günter Grass"]]
    with pytest.raises(SpecError, match="'drum' of question 'q-birth' is among neither"):
        GoldEvidence(alone)
    without = BM25Index.build(PASSAGES[1:])
    with pytest.raises(SpecError, match="give search= an index that has it"):
        GoldEvidence(alone, without)


def test_a_question_without_evidence_is_named() -> None:
    bare = QuestionSet("bare", (*QUESTIONS[:2], replace(QUESTIONS[2], evidence=())), PASSAGES)
    with pytest.raises(SpecError, match="needs gold evidence, but question 'q-river' of 'bare' names none"):
        GoldEvidence(bare)
