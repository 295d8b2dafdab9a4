"""A search with flaws around other retrievers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from igpo_gym.config import EnvConfig
from igpo_gym.data import resolve_questions
from igpo_gym.data.flaws import Flaws, flawed_spec
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Episode, Passage, Question, ToolCall
from igpo_gym.errors import SpecError
from igpo_gym.search import BM25Index, corpus_of, resolve_search
from igpo_gym.search.flawed import Flawed
from igpo_gym.search.identity import spec_identities
from igpo_gym.specs import Spec
from igpo_gym.tools import Open

PASSAGES = [
    Passage("1", "Danzig", "It is a port. It lies in Pomerania. See also Elbing."),
    Passage("2", "Elbing", "It is a port, too! Is it large? Nobody knows."),
    Passage("3", "Thorn", "It lies on the Vistula"),
]
QUESTIONS = QuestionSet("tiny", [Question("q", "Where?", ("Danzig",))], PASSAGES, "tiny")


class Wrong:
    """Returns what a retriever must not."""

    def __init__(self, found: list[Passage], lists: int = 1) -> None:
        self.found, self.lists = found, lists

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [self.found] * self.lists


class Counted:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], int]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.asked.append((tuple(queries), k))
        return [PASSAGES[:k] for _ in queries]


@pytest.mark.parametrize(
    ("shown", "texts"),
    [
        (1, ["It is a port.", "It is a port, too!", "It lies on the Vistula"]),
        (
            2,
            [
                "It is a port. It lies in Pomerania.",
                "It is a port, too! Is it large?",
                "It lies on the Vistula",
            ],
        ),
        (9, [passage.text for passage in PASSAGES]),
    ],
)
def test_the_beginnings_are_shown(shown: int, texts: list[str]) -> None:
    search = Flawed(BM25Index.build(PASSAGES), Flaws(shown))
    found = {p.title: p.text for p in search.search(["Danzig Elbing Thorn"], 3)[0]}
    assert found == dict(zip(("Danzig", "Elbing", "Thorn"), texts, strict=True))


def test_what_is_not_shown_can_be_searched_and_opened() -> None:
    search = Flawed(BM25Index.build(PASSAGES), Flaws(1))
    (found,) = search.search(["Pomerania"], 1)
    assert [p.text for p in found] == ["It is a port."]
    episode = Episode(QUESTIONS.questions[0], ())
    assert (
        Open(search)
        .run([(episode, ToolCall("open", {"document": "Danzig"}))])[0]
        .text.startswith("Danzig: not seen")
    )
    assert search.documents(["1"]) == [(PASSAGES[0],)]


def test_a_query_that_misses_brings_what_comes_next() -> None:
    behind = Counted()
    flaws = Flaws(miss=0.5)
    queries = [f"query {n}" for n in range(20)]
    found = Flawed(behind, flaws).search(queries, 1)
    assert [p[0].id for p in found] == ["2" if flaws.misses(query) else "1" for query in queries]
    assert sorted(k for _, k in behind.asked) == [1, 2]  # one call each, for all queries together
    assert Flawed(behind, flaws).search([], 1) == []


@pytest.mark.parametrize("miss", [0.0, 1.0])
def test_results_that_no_retriever_may_return_are_refused(miss: float) -> None:
    for wrong, message in (
        (Wrong([PASSAGES[0]] * 2), "Wrong returned two passages of one id"),
        (Wrong(PASSAGES, lists=2), "Wrong must return a list of passages for each of 1 queries"),
    ):
        with pytest.raises(TypeError, match=message):
            Flawed(wrong, Flaws(1, miss)).search(["port"], 1)
    many = Flawed(Wrong(PASSAGES), Flaws(1, miss))
    assert len(many.search(["port"], 1)[0]) == (1 if miss else 3)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_misses_is_what_was_asked_for(share: float) -> None:
    flaws = [Flaws(miss=share, seed=seed) for seed in range(2)]
    missed = [[each.misses(f"query {n}") for n in range(4000)] for each in flaws]
    assert sum(missed[0]) / 4000 == pytest.approx(share, abs=0.03)
    if 0 < share < 1:
        both = sum(map(all, zip(*missed, strict=True))) / 4000
        assert both == pytest.approx(share**2, abs=0.03)  # seeds are independent


def test_blanks_and_letter_case_are_no_other_words() -> None:
    flaws = Flaws(miss=0.5)
    for form in ("  the  port {} gdańsk", "The Port {} Gdan\u0301sk?", '"The" (port): {}, Gdańsk.'):
        assert all(flaws.misses(f"The Port {n} Gdańsk") == flaws.misses(form.format(n)) for n in range(100))


@pytest.mark.parametrize(
    "unseen", ["\u00ad", "\u200d", "\u200c", "\u2060", "\u200e", "\ufeff", "\ufe0f", "\u034f"]
)
def test_what_the_index_reads_past_undoes_no_miss(unseen: str) -> None:
    index, flaws = BM25Index.build(PASSAGES), Flaws(miss=0.5)
    for query in (f"Dan{unseen}zig", f"{unseen}Danzig Elbing"):
        plain = query.replace(unseen, "")
        assert index.search([query], 3) == index.search([plain], 3) != [[]]
        seeds = [Flaws(miss=0.5, seed=seed) for seed in range(50)]
        assert [each.misses(query) for each in seeds] == [each.misses(plain) for each in seeds]
    assert [flaws.misses(f"İstanbul {n}") for n in range(50)] == [
        flaws.misses(f"istanbul {n}") for n in range(50)
    ]


@pytest.mark.parametrize(
    "other", ["the port of Danzig", "Danzig, of the port!", "port into Danzig", "Danzig Danzig port"]
)
def test_what_is_searched_for_alone_decides_a_miss(other: str) -> None:
    """A query that brings the same in the same order misses with it: stop words find nothing."""
    index = BM25Index.build(PASSAGES)
    assert [p.id for p in index.search([other], 3)[0]] == [p.id for p in index.search(["port Danzig"], 3)[0]]
    seeds = [Flaws(miss=0.5, seed=seed) for seed in range(50)]
    assert [each.misses(other) for each in seeds] == [each.misses("port Danzig") for each in seeds]
    assert [each.misses(f"{other} Thorn") for each in seeds] != [each.misses(other) for each in seeds]


def test_a_spec_puts_flaws_around_any_search(tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    spec = flawed_spec(f"bm25:{tmp_path / 'index'}", Flaws(1, 1.0, 5))
    search = resolve_search(spec, QUESTIONS)
    assert isinstance(search, Flawed)
    assert search.flaws == Flaws(1, 1.0, 5)
    assert search.search(["Danzig"], 1) == [[]]
    within = f"hybrid:bm25,flawed:bm25:{tmp_path / 'index'}%23shown=1"
    assert len(resolve_search(within, QUESTIONS).search(["port"], 2)[0]) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("flawed:bm25,bm25#shown=1", "flawed takes one search: flawed:bm25:INDEX, not 'bm25,bm25'"),
        ("flawed:bm25#shown=0", "shown must be at least 1"),
        ("flawed:bm25#miss=1.5", "miss must be a share from 0 to 1"),
        ("flawed:bm25#missed=1", "no option 'missed' .did you mean miss"),
    ],
)
def test_wrong_specs_are_named(spec: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        resolve_search(spec, QUESTIONS)


def test_other_flaws_are_another_backend() -> None:
    specs = ("bm25", "flawed:bm25#shown=1", "flawed:bm25#shown=2", "flawed:bm25#miss=0.5")
    assert len({identity for spec in specs for identity in spec_identities(spec, QUESTIONS)}) == 4


def test_random_documents_are_shown_as_found_ones_are(tmp_path: Path) -> None:
    for settings in ({}, {"search_cache": str(tmp_path)}, {"search_cache": f"replay:{tmp_path}"}):
        search = resolve_search("flawed:bm25#shown=1", QUESTIONS, **settings)
        corpus = corpus_of(search)
        assert corpus is not None
        assert [corpus[n].text for n in range(3)] == [
            "It is a port.",
            "It is a port, too!",
            "It lies on the Vistula",
        ]
        if not str(settings.get("search_cache", "")).startswith("replay"):
            search.search(["port"], 2)


def test_a_world_that_shows_beginnings_can_be_replayed(tmp_path: Path) -> None:
    world = resolve_questions("world:test#documents=40,questions=3,shown=1")
    recorded = resolve_search(None, world, tmp_path)
    found = recorded.search(["mayor"], 2)
    replayed = resolve_search(None, world, f"replay:{tmp_path}")
    assert replayed.search(["mayor"], 2) == found
    assert [passage.text.count(".") for passage in found[0]] == [1, 1]
    for search in (recorded, replayed):
        corpus = corpus_of(search)
        assert corpus is not None
        assert (len(corpus), corpus[0].text) == (40, world.passages[0].text.partition(". ")[0] + ".")
        assert Flawed(search, Flaws()).documents(["0"]) == [(world.passages[0],)]


def test_questions_say_what_their_search_lacks() -> None:
    config = EnvConfig(
        questions="world:test#shown=1,miss=0.1",
        tools="search + open",
        search="bm25",
        scorer=None,
        reward="outcome-f1",
    )
    questions, engine = assemble(config)
    assert engine.facts() == {"backend": "BM25Index", "flaws": "shown=1,miss=0.1"}
    assert engine.corpus[0].text.count(".") == 1
    assert questions.passages[0].text.count(".") > 1
    assert Spec.parse(questions.name).options == {"shown": "1", "miss": "0.1"}
