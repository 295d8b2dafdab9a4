import gc
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import pytest

from igpo_gym.data import QuestionSet
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import DataError, SpecError
from igpo_gym.search import BM25Index, Retriever, resolve_search

PASSAGES = (Passage("a", "Tin Drum", "a novel"), Passage("b", "Gdańsk", "a city"))
QUESTIONS = (Question("1", "Who?", ("Grass",)),)
BARE = QuestionSet("bare", QUESTIONS)
CACHED = QuestionSet("cached", QUESTIONS, PASSAGES, fingerprint="abc")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache on disk, and none in the process."""
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    gc.collect()
    return tmp_path / "cache"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        "".join(json.dumps({"id": p.id, "title": p.title, "text": p.text}) + "\n" for p in PASSAGES)
    )
    return path


def ids(retriever: Retriever, query: str = "novel") -> list[str]:
    return [passage.id for passage in retriever.search([query], k=3)[0]]


def test_searching_loads_no_heavy_library(tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    script = (
        "import sys; from igpo_gym.search import BM25Index;"
        "assert BM25Index.load(sys.argv[1]).search(['novel'], 1)[0];"
        "print({'torch', 'transformers', 'bm25s', 'scipy', 'rich'} & set(sys.modules))"
    )
    shown = subprocess.check_output([sys.executable, "-c", script, str(tmp_path / "index")], text=True)
    assert shown.strip() == "set()"


class Nothing:
    """The smallest retriever of one's own."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [[] for _ in queries]


def test_objects_pass() -> None:
    retriever = Nothing()
    assert resolve_search(retriever, BARE) is retriever


@pytest.mark.parametrize("spec", [None, "bm25"])
def test_the_default_searches_the_passages_of_the_questions(spec: str | None) -> None:
    assert ids(resolve_search(spec, CACHED)) == ["a"]


def test_equal_specs_share_one_index_while_it_is_in_use() -> None:
    first = resolve_search(None, CACHED)
    assert resolve_search("bm25", CACHED) is first
    found: list[Retriever] = []
    threads = [Thread(target=lambda: found.append(resolve_search(None, CACHED))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(retriever is first for retriever in found)


def test_an_index_is_cached_on_disk(cache: Path) -> None:
    assert ids(resolve_search(None, CACHED)) == ["a"]
    gc.collect()
    (folder,) = (cache / "bm25").iterdir()
    BM25Index.build([Passage("planted", "", "novel")]).save(folder)
    assert ids(resolve_search(None, CACHED)) == ["planted"]


@pytest.mark.parametrize("damaged", ["manifest.json", "scores.bin", "checksums.bin"])
def test_a_damaged_cache_is_rebuilt(cache: Path, damaged: str) -> None:
    resolve_search(None, CACHED)
    gc.collect()
    (folder,) = (cache / "bm25").iterdir()
    (folder / damaged).write_text("{")
    assert ids(resolve_search(None, CACHED)) == ["a"]
    assert len(BM25Index.load(folder)) == len(PASSAGES)


def test_a_cache_that_cannot_be_written_is_done_without(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="not cached"):
        retriever = resolve_search(None, CACHED)
    assert ids(retriever) == ["a"]


def test_passages_without_a_fingerprint_are_not_cached(cache: Path) -> None:
    assert ids(resolve_search(None, QuestionSet("loose", QUESTIONS, PASSAGES))) == ["a"]
    assert not cache.exists()


def test_a_folder_is_loaded_and_seen_anew_when_replaced(tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    first = resolve_search(f"bm25:{tmp_path}/index", BARE)
    assert resolve_search(f"bm25:{tmp_path}/./index", BARE) is first
    shutil.rmtree(tmp_path / "index")
    BM25Index.build([Passage("new", "", "novel")]).save(tmp_path / "index")
    assert ids(resolve_search(f"bm25:{tmp_path}/index", BARE)) == ["new"]
    assert ids(first) == ["a"]


def test_a_corpus_file_is_indexed_once_by_content(corpus: Path, cache: Path) -> None:
    first = resolve_search(f"bm25:{corpus}", BARE)
    assert ids(first) == ["a"]
    moved = corpus.rename(corpus.with_name("moved.jsonl"))
    assert resolve_search(f"bm25:{moved}", BARE) is first
    moved.write_text('{"id": "z", "text": "novel"}\n')
    assert ids(resolve_search(f"bm25:{moved}", BARE)) == ["z"]
    assert len(list((cache / "bm25").iterdir())) == 2


def test_questions_without_passages_need_a_corpus() -> None:
    with pytest.raises(SpecError, match=r"'bare' bring no passages.*bm25:FOLDER"):
        resolve_search(None, BARE)


@pytest.mark.parametrize("spec", ["", "bm25:", "bm52", "tfidf:folder", "bm25 "])
def test_unknown_forms_are_refused_with_the_known_ones(spec: str) -> None:
    with pytest.raises(SpecError, match=r"unknown search .*bm25:FOLDER.*bm25:FILE\.jsonl"):
        resolve_search(spec, CACHED)


def test_what_cannot_search_is_refused() -> None:
    with pytest.raises(SpecError, match=r"42 is no retriever.*bm25:FOLDER"):
        resolve_search(42, BARE)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["nowhere", "nowhere.jsonl", "nowhere.jsonl.gz"])
def test_what_is_not_there_is_a_data_error(place: str) -> None:
    with pytest.raises(DataError, match=f"{place}: no such f"):
        resolve_search(f"bm25:{place}", CACHED)


def test_a_bad_corpus_is_named(corpus: Path) -> None:
    corpus.write_text(corpus.read_text() * 2)
    with pytest.raises(DataError, match=r"corpus\.jsonl, line 3: the passage id 'a' comes a second time"):
        resolve_search(f"bm25:{corpus}", BARE)


def test_searches_by_name_import_no_heavy_library_before_they_are_asked_for() -> None:
    code = (
        "import sys, igpo_gym.search, igpo_gym.search.corpus, igpo_gym.search.dense, igpo_gym.search.hybrid;"
        "import igpo_gym.cli;"
        "heavy = {'faiss', 'sentence_transformers', 'torch', 'transformers', 'pyarrow', 'huggingface_hub'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
