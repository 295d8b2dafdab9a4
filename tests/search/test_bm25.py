import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
from bm25s.stopwords import STOPWORDS_EN
from hypothesis import given, settings
from hypothesis import strategies as st

from igpo_gym.episode import Passage
from igpo_gym.errors import DataError
from igpo_gym.search.bm25 import FORMAT, MAX_WORDS, BM25Index, words

PASSAGES = [
    Passage("grass", "Günter Grass", "He wrote The Tin Drum, a novel of 1959."),
    Passage("drum", "The Tin Drum", "A novel by Günter Grass; Oskar beats the drum."),
    Passage("gdansk", "Gdańsk", "A city on the Baltic coast, once Danzig."),
    Passage("empty", "", ""),
    Passage("odd", 'Quotes " and \\ slashes', "line\nbreak, ударник, 鼓, \ud800 alone"),
]

vocabulary = st.sampled_from(["tin", "drum", "grass", "city", "coast", "1959", "über", "the", "of", "x"])
texts = st.lists(vocabulary, max_size=12).map(" ".join)
corpora = st.lists(st.tuples(texts, texts), min_size=1, max_size=30).filter(
    lambda corpus: any(set(words(f"{title} {text}")) - set(STOPWORDS_EN) for title, text in corpus)
)


def numbered(corpus: list[tuple[str, str]]) -> list[Passage]:
    return [Passage(str(number), title, text) for number, (title, text) in enumerate(corpus)]


def bm25s_ranking(passages: list[Passage], query: str) -> list[tuple[int, float]]:
    """All passages that bm25s's own ``retrieve`` scores above zero, by (-score, number)."""
    model = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy")
    corpus = [
        [word for word in words(f"{passage.title}\n{passage.text}") if word not in STOPWORDS_EN]
        for passage in passages
    ]
    model.index(corpus, show_progress=False)
    found = model.retrieve([words(query)], k=len(passages), show_progress=False, backend_selection="numpy")
    pairs = zip(found.documents[0].tolist(), found.scores[0].tolist(), strict=True)
    return sorted((pair for pair in pairs if pair[1] > 0), key=lambda pair: (-pair[1], pair[0]))


@settings(deadline=None, max_examples=100)
@given(corpora, st.lists(vocabulary, max_size=8), st.integers(1, 40))
def test_equals_bm25s_to_the_last_bit(corpus: list[tuple[str, str]], query: list[str], k: int) -> None:
    passages = numbered(corpus)
    index = BM25Index.build(passages)
    known = any(word in index.vocabulary for word in query)
    expected = bm25s_ranking(passages, " ".join(query)) if known else []
    assert index.ranked(query, k) == expected[:k]


def test_equals_bm25s_on_a_zipf_corpus_with_many_ties() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.zipf(1.3, size=(3000, 12)) % 500
    passages = [
        Passage(str(number), "", " ".join(f"w{word}" for word in row)) for number, row in enumerate(drawn)
    ]
    index = BM25Index.build(passages)
    for query in ["w1", "w1 w2 w3", "w1 w1 w499", "w7 w30 w60 w90 w120 w150", "w2 nothing"]:
        ranking = bm25s_ranking(passages, query)
        for k in (1, 5, 100, 5000):
            assert index.ranked(words(query), k) == ranking[:k]


def test_finds_by_title_and_text_and_keeps_what_it_found() -> None:
    index = BM25Index.build(PASSAGES)
    first, second = index.search(["Oskar's drum", "danzig"], k=3)
    assert [passage.id for passage in first] == ["drum", "grass"]
    assert first[0].score > first[1].score > 0
    assert second == [PASSAGES[2]]
    assert [index.passage(number) for number in range(len(index))] == PASSAGES


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
    assert f"{len(PASSAGES)}/{len(PASSAGES)}" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        ([], "no passages"),
        ([Passage("1", "", "the ..."), Passage("2", "", "")], "no words"),
        ([PASSAGES[0], PASSAGES[1], PASSAGES[0]], "two passages have the id 'grass'"),
    ],
)
def test_build_refuses(passages: list[Passage], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BM25Index.build(passages)


def test_a_loaded_index_is_mapped_and_finds_the_same(tmp_path: Path) -> None:
    built = BM25Index.build(PASSAGES)
    built.save(tmp_path / "index")
    loaded = BM25Index.load(tmp_path / "index")
    for name in ("starts", "numbers", "scores", "lines", "line_starts"):
        assert isinstance(getattr(loaded, name).base, np.memmap)
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
    assert pickle.loads(pickle.dumps(index)).search(["drum"], 2) == index.search(["drum"], 2)


def test_saving_replaces_an_index_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "index"
    BM25Index.build(PASSAGES).save(target)
    BM25Index.build(PASSAGES[:2]).save(target)
    assert len(BM25Index.load(target)) == 2
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="something else than a BM25 index"):
        BM25Index.build(PASSAGES).save(tmp_path / "thesis")
    with pytest.raises(FileExistsError, match="something else than a BM25 index"):
        BM25Index.build(PASSAGES).save(tmp_path / "thesis" / "chapter.txt")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "thesis"]


def test_load_refuses_what_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; `igpo-gym index build"):
        BM25Index.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="no such folder"):
        BM25Index.load(tmp_path / "file")
    model = bm25s.BM25()
    model.index([["tin", "drum"]], show_progress=False)
    model.save(tmp_path / "bm25s")
    with pytest.raises(DataError, match=r"not a BM25 index: no manifest\.json"):
        BM25Index.load(tmp_path / "bm25s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1}, f"format {FORMAT + 1}, this igpo_gym reads {FORMAT}"),
        ({"kind": "something else"}, "holds 'something else'"),
        ({"files": None}, "damaged"),
        ({"passages": 3}, "do not belong together"),
        ({"passages": None}, "do not belong together"),
    ],
)
def test_load_refuses_a_foreign_manifest(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    manifest = tmp_path / "index" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(DataError, match=message):
        BM25Index.load(tmp_path / "index")


FILES = ["line_starts.npy", "lines.jsonl", "numbers.npy", "scores.npy", "starts.npy", "vocabulary.txt"]


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_load_refuses_a_damaged_folder(tmp_path: Path, name: str, damage: str) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    file = tmp_path / "index" / name
    if damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.unlink()
    with pytest.raises(DataError, match=r"damaged|no manifest"):
        BM25Index.load(tmp_path / "index")


@pytest.mark.parametrize("name", [name for name in FILES if name != "lines.jsonl"])
def test_load_refuses_files_overwritten_at_their_length(tmp_path: Path, name: str) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    file = tmp_path / "index" / name
    file.write_bytes(b"\x00" * file.stat().st_size)
    with pytest.raises(DataError, match="damaged"):
        BM25Index.load(tmp_path / "index")
