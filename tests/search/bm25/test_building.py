"""Reading, sorting, merging and scoring, against bm25s."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import bm25s
import numpy as np
import numpy.typing as npt
import pytest
from bm25s.stopwords import STOPWORDS_EN
from hypothesis import given, settings
from hypothesis import strategies as st

from igpo_gym.episode import Passage
from igpo_gym.errors import DuplicateIdError
from igpo_gym.search.bm25 import BM25Index, building, merging, words
from igpo_gym.search.bm25.keys import hashes
from tests.search.bm25.conftest import last_bit

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


@last_bit
@settings(max_examples=100)
@given(corpora, st.lists(vocabulary, max_size=8), st.integers(1, 40))
def test_equals_bm25s_to_the_last_bit(corpus: list[tuple[str, str]], query: list[str], k: int) -> None:
    passages = numbered(corpus)
    index = BM25Index.build(passages)
    indexed = {word for title, text in corpus for word in words(f"{title} {text}")} - set(STOPWORDS_EN)
    expected = bm25s_ranking(passages, " ".join(query)) if indexed & set(query) else []
    assert index.ranked(query, k) == expected[:k]


@last_bit
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


@pytest.fixture
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few passages, ranges of a few words, pieces of a few postings."""
    monkeypatch.setattr(building, "BLOCK_WORDS", 50)
    monkeypatch.setattr(merging, "_RANGE_WORDS", 20)
    monkeypatch.setattr(merging, "_PIECE", 30)


def drawn(count: int, seed: int = 0) -> list[Passage]:
    rng = np.random.default_rng(seed)
    rows = rng.zipf(1.3, size=(count, 12)) % 500
    return [
        Passage(f"p{number}", f"t{number // 3}", " ".join(f"w{w}" for w in row))
        for number, row in enumerate(rows)
    ]


def bm25s_column(model: bm25s.BM25, word: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    column = model.vocab_dict[word]
    span = slice(model.scores["indptr"][column], model.scores["indptr"][column + 1])
    return model.scores["indices"][span], model.scores["data"][span]


@pytest.mark.usefixtures("in_small_pieces")
def test_postings_and_scores_of_many_blocks_are_those_of_bm25s(tmp_path: Path) -> None:
    passages = drawn(400)
    model = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy")
    corpus = [words(f"{p.title} {p.text}") for p in passages]
    model.index(corpus, create_empty_token=False, show_progress=False)
    for index in (BM25Index.build_folder(iter(passages), tmp_path / "index"), BM25Index.build(passages)):
        assert len(index.arrays["words"]) == len(model.vocab_dict)
        table = index.arrays["words"][0 : len(index.arrays["words"])]
        for word in model.vocab_dict:
            column = int(np.searchsorted(table, hashes([word]))[0])
            start, end = index.arrays["starts"][column : column + 2].tolist()
            numbers, scores = bm25s_column(model, word)
            assert index.arrays["numbers"][start:end].tolist() == numbers.tolist()
            np.testing.assert_allclose(index.arrays["scores"][start:end], scores, rtol=5e-7)
            assert index.arrays["tops"][column : column + 1].item() == index.arrays["scores"][start:end].max()


def test_how_it_is_cut_does_not_matter(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    passages = [*drawn(300), Passage("empty", "", ""), Passage("cjk", "", "北京是中国的首都 w1"), *drawn(0)]
    whole = BM25Index.build(passages)
    request.getfixturevalue("in_small_pieces")
    pieces = BM25Index.build_folder(iter(passages), tmp_path / "index")
    for name, array in whole.arrays.items():
        assert np.array_equal(array[0 : len(array)], pieces.arrays[name][0 : len(array)]), name
    assert [pieces[number] for number in range(len(pieces))] == passages


@pytest.mark.parametrize("in_memory", [True, False])
def test_an_id_that_comes_twice_is_named_with_both_places(
    tmp_path: Path, in_memory: bool, in_small_pieces: None
) -> None:
    passages = drawn(60)
    passages[40] = Passage("p7", "other", "text")
    passages[50] = Passage("p3", "other", "text")
    with pytest.raises(
        DuplicateIdError, match=r"'p7' \(numbers 7 and 40 from 0\); ids must be unique"
    ) as caught:
        BM25Index.build(passages) if in_memory else BM25Index.build_folder(passages, tmp_path / "index")
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.id, error.first, error.second) == ("p7", 7, 40)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_refused_before_a_passage_is_read(tmp_path: Path) -> None:
    (tmp_path / "chapter.txt").write_text("years of work")

    def passages() -> Iterator[Passage]:
        raise AssertionError("read")
        yield

    with pytest.raises(FileExistsError, match="something else than an index"):
        BM25Index.build_folder(passages(), tmp_path)


def test_passages_without_titles_and_words_have_a_place(tmp_path: Path) -> None:
    passages = [Passage("1", "", ""), Passage("2", "", "the"), Passage("3", "", "word"), Passage("4", "", "")]
    index = BM25Index.build_folder(passages, tmp_path / "index")
    assert [index[number] for number in range(4)] == passages
    assert index.search(["word"], 5) == [[passages[2]]]
    assert index.documents(["2", "5"]) == [(passages[1],), ()]


def test_a_stream_that_fails_leaves_the_old_index(tmp_path: Path) -> None:
    BM25Index.build_folder(drawn(5), tmp_path / "index")

    def passages() -> Iterator[Passage]:
        yield from drawn(3)
        raise RuntimeError("the corpus ends")

    with pytest.raises(RuntimeError, match="the corpus ends"):
        BM25Index.build_folder(passages(), tmp_path / "index")
    assert len(BM25Index.load(tmp_path / "index")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
