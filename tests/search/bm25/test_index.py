import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from igpo_gym.episode import Passage
from igpo_gym.search.bm25 import MAX_WORDS, BM25Index, words
from igpo_gym.search.passages import PassageWriter

PASSAGES = [
    Passage("grass", "Günter Grass", "He wrote The Tin Drum, a novel of 1959."),
    Passage("drum", "The Tin Drum", "A novel by Günter Grass; Oskar beats the drum."),
    Passage("gdansk", "Gdańsk", "A city on the Baltic coast, once Danzig."),
    Passage("empty", "", ""),
    Passage("odd", 'Quotes " and \\ slashes', "line\nbreak, ударник, 鼓, \ud800 alone"),
]


def test_finds_by_title_and_text_and_keeps_what_it_found() -> None:
    index = BM25Index.build(PASSAGES)
    first, second = index.search(["Oskar's drum", "danzig"], k=3)
    assert [passage.id for passage in first] == ["drum", "grass"]
    assert first[0].score > first[1].score > 0
    assert second == [PASSAGES[2]]
    assert [index.passage(number) for number in range(len(index))] == PASSAGES
    for number in (-1, 5):
        with pytest.raises(IndexError, match=f"no passage {number}: they are numbered from 0 to 4"):
            index[number]


def test_ties_stand_in_corpus_order() -> None:
    index = BM25Index.build([Passage(str(number), "same", "words") for number in range(50)])
    assert [passage.id for passage in index.search(["same words"], k=7)[0]] == list("0123456")


@pytest.mark.parametrize(
    "query", ["", "the of and", "unheard", "!?<search>", "\ud800", "\x00", "鼓" * 100_000]
)
def test_a_query_that_matches_nothing_finds_nothing(query: str) -> None:
    assert BM25Index.build(PASSAGES).search([query], k=5) == [[]]


def test_a_runaway_query_counts_up_to_its_limit() -> None:
    index = BM25Index.build(PASSAGES)
    runaway, limit = index.search(["drum " * 100_000 + "city", "drum " * MAX_WORDS], k=5)
    assert [passage.id for passage in runaway] == ["drum", "grass"]
    assert [passage.score for passage in runaway] == [passage.score for passage in limit]


@pytest.mark.parametrize("passage", [Passage(1, "", "x"), Passage("1", None, "x"), Passage("1", "", 3)])  # type: ignore[arg-type]
def test_a_passage_of_other_things_than_texts_is_refused(tmp_path: Path, passage: Passage) -> None:
    """None would be found under the word "none"."""
    with pytest.raises(TypeError, match="the id, title and text of a passage must be texts: Passage"):
        BM25Index.build([passage])
    with pytest.raises(TypeError, match="must be texts"), PassageWriter(tmp_path) as writer:
        writer.add(passage)


def test_search_takes_no_queries_and_refuses_k_below_one() -> None:
    index = BM25Index.build(PASSAGES)
    assert index.search([], k=1) == []
    with pytest.raises(ValueError, match="k must be at least 1, found 0"):
        index.search(["drum"], k=0)


def test_build_reads_a_stream_once() -> None:
    assert len(BM25Index.build(iter(PASSAGES))) == len(PASSAGES)


def test_progress_is_shown_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    BM25Index.build(PASSAGES, progress=True)
    shown = capsys.readouterr()
    assert "reading passages" in shown.err
    assert "scoring words" in shown.err
    assert f"reading passages: {len(PASSAGES)} of {len(PASSAGES)}\n" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        ([], "no passages"),
        ([Passage("1", "", "the ..."), Passage("2", "", "")], "no words"),
        ([PASSAGES[0], PASSAGES[1], PASSAGES[0]], r"two passages have the id 'grass' \(numbers 0 and 2"),
    ],
)
def test_build_refuses(passages: list[Passage], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BM25Index.build(passages)


def test_a_loaded_index_finds_the_same(tmp_path: Path) -> None:
    built = BM25Index.build(PASSAGES)
    built.save(tmp_path / "index")
    loaded = BM25Index.load(tmp_path / "index")
    queries = ["drum", "Günter Grass", "novel city", "ударник"]
    expected = built.search(queries, k=5)
    found = loaded.search(queries, k=5)
    assert found == expected
    assert [[p.score for p in row] for row in found] == [[p.score for p in row] for row in expected]


def test_threads_read_one_index_at_once(tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    index = BM25Index.load(tmp_path / "index")
    queries = ["drum", "Günter Grass", "novel", "city coast"] * 100
    expected = [index.ranked(words(query), 3) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: index.ranked(words(query), 3), queries)) == expected


def test_copies(tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    index = BM25Index.load(tmp_path / "index")
    assert copy.deepcopy(index) is index
    for each in (index, BM25Index.build(PASSAGES)):
        assert pickle.loads(pickle.dumps(each)).search(["drum"], 2) == index.search(["drum"], 2)


def test_a_loaded_index_is_pickled_as_its_folder(tmp_path: Path) -> None:
    BM25Index.build([Passage("long", "", "word " * 10_000)]).save(tmp_path / "index")
    assert len(pickle.dumps(BM25Index.load(tmp_path / "index"))) < 1000


def test_documents_are_found_by_the_id_of_any_of_their_passages() -> None:
    passages = [
        *(Passage(f"p{number}", f"title {number % 700}", "text") for number in range(2000)),
        Passage("alone", "", "text"),
    ]
    index = BM25Index.build(passages)
    found = index.documents(["p1999", "alone", "none", "p3", "title 3"])
    numbers = [[passage.id for passage in document] for document in found]
    assert numbers == [["p599", "p1299", "p1999"], ["alone"], [], ["p3", "p703", "p1403"], []]
    assert index.documents([]) == []
