"""Rankings of several retrievers, joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import igpo_gym.specs as specs
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Passage
from igpo_gym.errors import SearchError, SpecError
from igpo_gym.search import BM25Index, resolve_search
from igpo_gym.search.hybrid import Hybrid
from igpo_gym.tools import Open
from tests.conftest import PASSAGES, QUESTIONS

SET = QuestionSet("tiny", QUESTIONS, PASSAGES)


@dataclass
class Fixed:
    """Finds the same passages for every query."""

    ids: str
    asked: list[int] = field(default_factory=list)
    name: str = ""

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.asked.append(k)
        return [[Passage(id_, self.name, id_) for id_ in self.ids[:k]] for _ in queries]


class WithDocuments(Fixed):
    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        return [(Passage(id_, self.name, "whole"),) if id_ in self.ids else () for id_ in ids]

    def facts(self) -> dict[str, str | int]:
        return {"backend": self.name}


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    (found,) = Hybrid([Fixed("abc"), Fixed("cad")], k=60).search(["q"], k=10)
    assert [passage.id for passage in found] == ["a", "c", "b", "d"]
    by_hand = [1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62, 1 / 63]
    assert [passage.score for passage in found] == pytest.approx(by_hand)


def test_ties_go_to_the_first_part_and_so_does_the_passage() -> None:
    first, second = Fixed("ab", name="first"), Fixed("cb", name="second")
    (found,) = Hybrid([first, second]).search(["q"], k=3)
    assert [(passage.id, passage.title) for passage in found] == [
        ("b", "first"),
        ("a", "first"),
        ("c", "second"),
    ]


@given(st.lists(st.permutations("abcdefgh").map(lambda ids: "".join(ids[:5])), min_size=2, max_size=4))
def test_the_order_is_that_of_a_plain_computation(rankings: list[str]) -> None:
    (found,) = Hybrid([Fixed(ids) for ids in rankings], k=3).search(["q"], k=8)
    sums = {id_: sum(1 / (4 + own.index(id_)) for own in rankings if id_ in own) for id_ in "abcdefgh"}
    assert [passage.score for passage in found] == pytest.approx(sorted(filter(None, sums.values()))[::-1])
    assert all(passage.score == pytest.approx(sums[passage.id]) for passage in found)


def test_the_same_ranks_in_another_order_are_a_tie() -> None:
    # Added in this order, the three shares of "b" come out greater than those of "a" by the last bit.
    a, b = (1, 2, 7), (7, 1, 2)
    assert 1 / 61 + 1 / 62 + 1 / 67 != 1 / 67 + 1 / 61 + 1 / 62
    rankings = []
    for of_a, of_b in zip(a, b, strict=True):
        rest = iter("cdefghij")
        rankings.append("".join({of_a: "a", of_b: "b"}.get(rank) or next(rest) for rank in range(1, 9)))
    (found,) = Hybrid([Fixed(ids) for ids in rankings], k=60).search(["q"], k=8)
    scores = {passage.id: passage.score for passage in found}
    assert scores["a"] == scores["b"]
    assert [passage.id for passage in found if passage.id in "ab"] == ["a", "b"]


def test_parts_are_asked_deeper_than_what_is_wanted() -> None:
    part, other = Fixed("abc"), Fixed("def")
    hybrid = Hybrid([part, other], depth=50)
    assert [len(each) for each in hybrid.search(["p", "q"], k=4)] == [4, 4]
    hybrid.search(["q"], k=80)
    assert part.asked == other.asked == [50, 80]


def test_a_document_comes_from_the_first_part_that_has_it() -> None:
    one, two = WithDocuments("ab", name="one"), WithDocuments("bc", name="two")
    documents = Hybrid([Fixed("abc"), one, two]).documents(["c", "b", "nobody", "b"])
    assert [[passage.title for passage in each] for each in documents] == [["two"], ["one"], [], ["one"]]
    with pytest.raises(SpecError, match="Hybrid has no documents"):
        Open(Hybrid([Fixed("a"), Fixed("b")]))  # type: ignore[arg-type]


def test_a_part_that_fails_fails_the_whole() -> None:
    class Down(Fixed):
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            raise SearchError("no answer")

    class Short(Fixed):
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return []

    with pytest.raises(SearchError, match="no answer"):
        Hybrid([Fixed("a"), Down("b")]).search(["q"], 1)
    with pytest.raises(TypeError, match=r"retriever Short must return .* of 2 queries, .* 0 results"):
        Hybrid([Fixed("a"), Short("b")]).search(["p", "q"], 1)
    with pytest.raises(TypeError, match="retriever Fixed returned two passages of one id"):
        Hybrid([Fixed("ab"), Fixed("bab")]).search(["p"], 3)


def test_facts_are_those_of_the_parts() -> None:
    facts = Hybrid([WithDocuments("a", name="bm25"), Fixed("b")]).facts()
    assert facts == {
        "backend": "hybrid",
        "parts": 2,
        "k": 60,
        "1.backend": "bm25",
        "2.backend": "Fixed",
    }


# Specs.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BM25Index.build(PASSAGES[:3]).save(tmp_path / "index")
    return tmp_path / "index"


def test_a_spec_names_its_parts(folder: Path) -> None:
    hybrid = resolve_search(f"hybrid:bm25,bm25:{folder}#k=10,depth=7", SET)
    assert isinstance(hybrid, Hybrid)
    assert [len(part) for part in hybrid.parts] == [6, 3]  # type: ignore[arg-type]
    assert (hybrid.k, hybrid.depth) == (10, 7)


class Noted(Fixed):
    """What an import in a spec names."""

    def __init__(self, ids: str = "ab", name: str = "") -> None:
        super().__init__(ids, name=name)


def test_a_part_has_options_of_its_own() -> None:
    spec = "hybrid:bm25,tests.search.test_hybrid:Noted%23name=x%252Cy%2Cids=cd#k=1"
    hybrid = resolve_search(spec, SET)
    assert isinstance(hybrid, Hybrid)
    assert isinstance(hybrid.parts[1], Noted)
    assert (hybrid.parts[1].name, hybrid.parts[1].ids, hybrid.k) == ("x,y", "cd", 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hybrid", "needs something behind its colon"),
        ("hybrid:bm25", "a hybrid search has two parts or more, joined by commas: hybrid:bm25"),
        ("hybrid:http://me:secret@host", "joined by commas: hybrid:http://host$"),
        ("hybrid:bm25,bm52", "unknown search 'bm52'; did you mean bm25"),
        ("hybrid:bm25,bm25#depth=0", "k must be at least 0 and depth at least 1"),
        ("hybrid:bm25,bm25#rank=2", "has no option 'rank'"),
    ],
)
def test_wrong_specs_are_named(spec: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        resolve_search(spec, SET)


def test_the_fingerprint_is_that_of_the_parts(folder: Path) -> None:
    spec = f"hybrid:bm25,bm25:{folder}#k=10"
    before = specs.fingerprint(spec)
    assert before == specs.fingerprint(f"bm25:{folder}")
    BM25Index.build(PASSAGES).save(folder)
    assert specs.fingerprint(spec) not in ("", before)


def test_a_file_may_name_what_its_parts_may_be(folder: Path) -> None:
    allowed = f"hybrid:bm25,bm25:{folder},http://host:8000/retrieve#k=10"
    assert specs.from_file("search", allowed, "out.jsonl") == allowed
    for part in ("my.code:Search", "my.code:Search%23key=1", "hybrid:bm25%2Cmy.code:Search"):
        with pytest.raises(SpecError, match=r"out\.jsonl names the .*my\.code:Search.*neither registered"):
            specs.from_file("search", f"hybrid:bm25,{part}", "out.jsonl")
        specs.from_file("search", f"hybrid:bm25,{part}", "out.jsonl", trusted=True)
