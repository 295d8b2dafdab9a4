from __future__ import annotations

import copy
import math
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igpo_gym import specs
from igpo_gym.data import QuestionSet
from igpo_gym.data.evidence import match_evidence
from igpo_gym.episode import Episode, Passage, Question
from igpo_gym.errors import DataError, ReplayError, SearchError, SpecError
from igpo_gym.search import BM25Index, cache_file, corpus_of, resolve_search
from igpo_gym.search.cache import CachedSearch, CacheSetting
from igpo_gym.search.cache_file import NOTHING, AnswerFile
from igpo_gym.tools import Open, Search, search_call
from igpo_gym.tools.running import run_calls

PASSAGES = (Passage("a", "Tin Drum", "a novel"), Passage("b", "Gdańsk", "a city"))
QUESTIONS = QuestionSet("tiny", (Question("1", "Who?", ("Grass",)),), PASSAGES)


class Library:
    """A backend that counts what it is asked, and is down for queries with "fail" in them."""

    identity = "library"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.asked.append(list(queries))
        if any("fail" in query for query in queries):
            raise SearchError("down")
        return [
            [Passage(f"{query}{n}", query, "text", 0.1 * n) for n in range(min(k, 5))] for query in queries
        ]


class Archive(Library):
    """One that gives documents too."""

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        self.asked.append(list(ids))
        return [(Passage(id_, "", "whole"),) if id_ != "unknown" else () for id_ in ids]


class Untouchable:
    """A backend that must not be asked."""

    identity = "library"

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        raise AssertionError("the backend was asked")


def cached(search: Any, setting: str | Path, questions: QuestionSet = QUESTIONS) -> CachedSearch:
    found = resolve_search(search, questions, setting)
    assert isinstance(found, CachedSearch)
    return found


def exact(found: Sequence[Sequence[Passage]]) -> list[list[tuple[type, str, str, str, str]]]:
    """Passages with all that equality leaves out: types, and scores to the last bit."""
    return [[(type(p), p.id, p.title, p.text, p.score.hex()) for p in each] for each in found]


def test_hits_are_what_misses_were(tmp_path: Path) -> None:
    backend = Library()
    first = cached(backend, tmp_path)
    missed = first.search(["Danzig", "Vistula"], 3)
    hit = first.search(["Vistula", "Danzig"], 3)
    assert exact(hit) == exact(missed[::-1])
    assert exact(missed) == exact(Library().search(["Danzig", "Vistula"], 3))
    assert [type(each) for each in missed] == [type(each) for each in hit] == [list, list]
    assert backend.asked == [["Danzig", "Vistula"]]
    assert first.facts() == {"cache_hits": 2, "cache_misses": 2}
    again = cached(Untouchable(), tmp_path)
    assert exact(again.search(["Danzig", "Vistula"], 3)) == exact(missed)


def test_what_is_missing_of_a_batch_is_asked_for_once_and_together(tmp_path: Path) -> None:
    backend = Library()
    search = cached(backend, tmp_path)
    search.search(["a"], 3)
    found = search.search(["b", "a", "b", "c"], 3)
    assert backend.asked == [["a"], ["b", "c"]]
    assert [passages[0].title for passages in found] == ["b", "a", "b", "c"]
    assert search.facts() == {"cache_hits": 1, "cache_misses": 3}
    assert search.search([], 3) == []
    assert len(backend.asked) == 2


def test_another_k_is_another_question(tmp_path: Path) -> None:
    search = cached(backend := Library(), tmp_path)
    assert [len(search.search(["a"], k)[0]) for k in (1, 3, 1, 3)] == [1, 3, 1, 3]
    assert len(backend.asked) == 2


def test_a_failure_is_not_kept_and_costs_no_other_query_its_answer(tmp_path: Path) -> None:
    backend = Library()
    tool = Search(cached(backend, tmp_path), 2)
    episode = Episode(QUESTIONS.questions[0], ())
    calls = [(episode, search_call(query).calls[0]) for query in ("a", "fail", "b", "c")]
    results = run_calls({"search": tool}, calls, delays=())
    assert [result.failed for result in results] == [False, True, False, False]
    backend.asked.clear()
    results = run_calls({"search": tool}, calls[:1] + calls[2:], delays=())
    assert [result.passages[0][0].title for result in results] == ["a", "b", "c"]
    assert backend.asked == []
    with pytest.raises(SearchError):
        tool.run(calls[1:2])
    assert backend.asked == [["fail"]]


def test_documents_are_cached_where_the_backend_has_them_and_offered_only_there(tmp_path: Path) -> None:
    archive = Archive()
    search = cached(archive, tmp_path / "archive")
    asked = search.documents(["a", "unknown"])  # type: ignore[attr-defined]
    assert asked == search.documents(["a", "unknown"]) == [(Passage("a", "", "whole"),), ()]  # type: ignore[attr-defined]
    assert archive.asked == [["a", "unknown"], ["unknown"]], "it may be there by now"
    replayed = cached(Untouchable(), f"replay:{tmp_path / 'archive'}")
    assert replayed.documents(["unknown", "a"]) == asked[::-1]  # type: ignore[attr-defined]
    Open(replayed)  # type: ignore[arg-type]
    with pytest.raises(ReplayError, match="no answer of Untouchable to the document 'b'"):
        replayed.documents(["b"])  # type: ignore[attr-defined]
    cached(Library(), tmp_path / "library").search(["a"], 1)
    for setting in (tmp_path / "library", f"replay:{tmp_path / 'library'}"):
        with pytest.raises(SpecError, match="give documents"):
            Open(cached(Library(), setting))  # type: ignore[arg-type]


def test_a_document_that_could_not_be_had_takes_the_place_of_nothing(tmp_path: Path) -> None:
    class Down(Archive):
        up = False

        def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
            return super().documents(ids) if self.up else [() for _ in ids]

    archive = Down()
    search = cached(archive, tmp_path)
    assert search.documents(["a"]) == [()]  # type: ignore[attr-defined]
    archive.up = True
    assert cached(archive, tmp_path).documents(["a"]) == [(Passage("a", "", "whole"),)]  # type: ignore[attr-defined]
    archive.up = False
    assert search.documents(["a"]) == [(Passage("a", "", "whole"),)]  # type: ignore[attr-defined]
    replayed = cached(Untouchable(), f"replay:{tmp_path}")
    assert replayed.documents(["a"]) == [(Passage("a", "", "whole"),)]  # type: ignore[attr-defined]


def test_of_searches_the_first_answer_stays_though_it_found_nothing(tmp_path: Path) -> None:
    file, other = AnswerFile(tmp_path), AnswerFile(tmp_path)
    assert file.keep({b"k": NOTHING}) == {b"k": NOTHING}
    assert other.keep({b"k": b'[["1","","",0]]'}) == {b"k": NOTHING}
    assert other.keep({b"k": b'[["1","","",0]]'}, renewed=True) == file.read([b"k"]) != {b"k": NOTHING}


def test_a_replay_asks_nobody_and_says_what_is_missing(tmp_path: Path) -> None:
    cached(Library(), tmp_path).search(["Danzig"], 3)
    replayed = cached(Untouchable(), f"replay:{tmp_path}")
    assert replayed.retriever is None
    assert replayed.search(["Danzig"], 3)[0][2].title == "Danzig"
    long = "where " * 100
    for query, k, said in (
        ("Vistula", 3, "'Vistula' (k=3)"),
        ("Danzig", 2, "'Danzig' (k=2)"),
        (long, 3, repr(long[:200])),
    ):
        with pytest.raises(ReplayError) as problem:
            replayed.search(["Danzig", query], k)
        assert said in str(problem.value)
        assert str(tmp_path) in str(problem.value)
        assert long not in str(problem.value)
    # The tools retry what fails for the moment: this does not.
    episode = Episode(QUESTIONS.questions[0], ())
    with pytest.raises(ReplayError):
        run_calls({"search": Search(replayed, 3)}, [(episode, search_call("Vistula").calls[0])])


def test_a_replay_needs_a_cache_and_one_of_this_backend(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no search cache here"):
        cached(Library(), f"replay:{tmp_path}")
    assert not list(tmp_path.iterdir())
    cached("bm25", tmp_path)
    with pytest.raises(
        DataError, match="nothing was recorded of Library, which is 'library'; what is there is of: 'bm25 "
    ):
        cached(Library(), f"replay:{tmp_path}")
    other = QuestionSet("tiny", QUESTIONS.questions, PASSAGES[:1])
    with pytest.raises(
        DataError, match=r"nothing was recorded of bm25, which is 'bm25 .*; what is there is of: 'bm25 "
    ):
        cached("bm25", f"replay:{tmp_path}", other)


class Down:
    """A retriever that cannot be made."""

    def __init__(self, place: str, timeout: float = 1.0) -> None:
        raise AssertionError("constructed")

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return []


class Up:
    """The same, which can."""

    def __init__(self, place: str, timeout: float = 1.0) -> None: ...

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return Library().search(queries, k)


def test_a_replay_constructs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs.register("search", "far", Up)
    try:
        cached("far:http://me:secret@host:80/#timeout=9", tmp_path).search(["a"], 3)
        specs.register("search", "far", Down)
        replayed = cached("far:http://host:80", f"replay:{tmp_path}")
        assert exact(replayed.search(["a"], 3)) == exact(Library().search(["a"], 3))
        with pytest.raises(DataError, match="nothing was recorded of far:http://host:81"):
            cached("far:http://host:81", f"replay:{tmp_path}")
    finally:
        specs.unregister("search", "far")
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"far:http://host:80" in written
    assert b"secret" not in written


def test_the_passages_of_an_index_are_there_in_a_replay(tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    spec = f"bm25:{tmp_path / 'index'}"
    recorded = cached(spec, tmp_path / "cache")
    recorded.search(["novel"], 3)
    replayed = cached(spec, f"replay:{tmp_path / 'cache'}")
    there, corpus = corpus_of(recorded), corpus_of(replayed)
    assert there
    assert corpus
    shutil.move(tmp_path / "index", tmp_path / "moved")  # what is replayed has not been opened
    assert replayed.search(["novel"], 3)[0][0].id == "a"
    shutil.move(tmp_path / "moved", tmp_path / "index")
    assert [corpus[n] for n in range(len(corpus))] == [there[n] for n in range(len(there))] == list(PASSAGES)


@pytest.mark.parametrize("spec", ["bm25:INDEX", "hybrid:bm25:INDEX,bm25"])
def test_evidence_is_found_in_a_replay_as_it_was(spec: str, tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    spec = spec.replace("INDEX", str(tmp_path / "index"))
    asked = QuestionSet("evident", (Question("1", "Who?", ("Grass",), evidence=("b",)),), PASSAGES[:1])
    for setting in (f"{tmp_path}/cache#backend=mine", f"replay:{tmp_path}/cache#backend=mine"):
        corpus: Any = corpus_of(cached(spec, setting, asked))
        matched = match_evidence(replace(asked, passages=()), corpus)
        assert matched.questions[0].evidence_match == "id"
        assert matched.documents is not None
        assert matched.documents(["b"]) == [(PASSAGES[1],)]
    shutil.rmtree(tmp_path / "index")
    gone = f"bm25:{tmp_path}/index"  # what is no longer there is done without
    assert corpus_of(cached(gone, f"replay:{tmp_path}/cache#backend=mine")) is None


def test_no_query_stands_in_the_file(tmp_path: Path) -> None:
    class Silent(Library):
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return [[] for _ in queries]

    search = cached(Silent(), tmp_path)
    search.search(["a protected question", "zwölf"], 3)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"library" in written
    assert b"protected" not in written
    assert "zwölf".encode() not in written


# What may be stored.

TEXTS = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    ["\ud800", "\ud83d\ude00", "😀", "\0", "", " "]
)
SCORES = st.floats() | st.sampled_from([-0.0, math.inf, 5e-324])
ANY_PASSAGE = st.builds(Passage, TEXTS, TEXTS, TEXTS, SCORES)
FOUND = st.lists(ANY_PASSAGE, max_size=3, unique_by=lambda passage: passage.id)


@settings(max_examples=50)
@given(st.dictionaries(TEXTS, FOUND, min_size=1, max_size=4), st.integers(1, 10**30))
def test_any_text_any_passages_and_any_k_come_back(library: dict[str, list[Passage]], k: int) -> None:
    class Known(Library):
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return [library[query] for query in queries]

    with tempfile.TemporaryDirectory() as folder:
        queries = list(library)
        missed = cached(Known(), folder).search(queries, k)
        replayed = cached(Known(), f"replay:{folder}").search(queries, k)
        wanted = exact([library[query][:k] for query in queries])
        assert exact(missed) == exact(replayed) == wanted


def test_scores_of_other_kinds_are_floats_for_hits_and_misses(tmp_path: Path) -> None:
    import numpy as np

    class Numbers(Library):
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            scores: list[Any] = [np.float32(0.1), 2, True]
            return [[Passage(str(n), "", "", score) for n, score in enumerate(scores)] for _ in queries]

    search = cached(Numbers(), tmp_path)
    missed, hit = search.search(["a"], 3), search.search(["a"], 3)
    assert exact(missed) == exact(hit)
    assert [passage.score for passage in hit[0]] == [0.10000000149011612, 2.0, 1.0]


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (None, "must return a list of passages for each of 1 queries, and returned NoneType"),
        ([], "and returned 0 results"),
        ([["text"]], "must return a list of Passage objects"),
        ([[Passage("1", "", "a"), Passage("1", "", "b")]], "returned two passages of one id for a query"),
        ([[Passage(1, "", "")]], "a passage with fields of wrong types"),  # type: ignore[arg-type]
        ([[Passage("1", "", "", None)]], "a passage with fields of wrong types"),  # type: ignore[arg-type]
        ([[Passage(["1"], "", "")]], "a passage whose id is no text"),  # type: ignore[arg-type]
    ],
)
def test_what_breaks_the_contract_is_refused_by_the_backends_name(
    found: Any, problem: str, tmp_path: Path
) -> None:
    class Wrong(Library):
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return found  # type: ignore[no-any-return]

    search = cached(Wrong(), tmp_path)
    for _ in range(2):  # and is not kept
        with pytest.raises(TypeError, match=f"the retriever Wrong .*{problem}"):
            search.search(["a"], 3)


# The file.


def raw(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / cache_file.NAME, isolation_level=None)


def other_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")


def later_version(path: Path) -> None:
    AnswerFile(path.parent)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")


def cut_off(path: Path) -> None:
    AnswerFile(path.parent).keep({bytes([n]): b"value" * 1000 for n in range(50)})
    path.write_bytes(path.read_bytes()[:10_000])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.write_text("no database at all, and longer than a header " * 9), "remove it"),
        (other_program, "another program: name another folder"),
        (later_version, "format 99, and 1 is read here: name another folder"),
        (cut_off, "remove it"),
    ],
)
@pytest.mark.parametrize("scheme", ["", "replay:"])
def test_a_file_that_is_no_cache_is_refused(
    damage: Callable[[Path], object], problem: str, scheme: str, tmp_path: Path
) -> None:
    path = tmp_path / cache_file.NAME
    damage(path)
    with pytest.raises(DataError, match=problem) as told:
        cached(Library(), f"{scheme}{tmp_path}").search(["a"], 3)
    assert str(path) in str(told.value)


def test_a_damaged_answer_is_told(tmp_path: Path) -> None:
    cached(Library(), tmp_path).search(["a"], 3)
    raw(tmp_path).execute("UPDATE answers SET value = x'7b'")
    with pytest.raises(DataError, match="damaged; remove it"):
        cached(Library(), tmp_path).search(["a"], 3)


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="this is a file; search_cache names a folder"):
        cached(Library(), tmp_path / "file")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_file, "BUSY_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_locked_file_is_one_warning_and_the_search_goes_on(tmp_path: Path) -> None:
    search = cached(backend := Library(), tmp_path)
    search.search(["before"], 3)
    other = raw(tmp_path)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.warns(RuntimeWarning, match="not cached any more.*locked"):
        found = search.search(["a"], 3)
    assert found[0][0].title == "a"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert search.search(["b", "before"], 3)[1][0].title == "before"
    other.execute("COMMIT")
    assert search.search(["a"], 3)[0][0].title == "a"
    assert backend.asked == [["before"], ["a"], ["b"], ["a"]]
    assert exact(cached(Untouchable(), tmp_path).search(["before"], 3)) == exact(
        Library().search(["before"], 3)
    )


@pytest.mark.usefixtures("impatient")
def test_a_file_that_is_locked_at_the_start_is_done_without(tmp_path: Path) -> None:
    cached(Library(), tmp_path).search(["a"], 3)
    other = raw(tmp_path)
    other.execute("BEGIN IMMEDIATE")

    class New(Library):
        identity = "new"

    with pytest.warns(RuntimeWarning, match="not cached any more.*locked"):
        search = cached(New(), tmp_path)
    assert search.search(["a"], 3)[0][0].title == "a"


FULL = """
import resource, sys, warnings
from igpo_gym.search import resolve_search
from tests.search.test_cache import Library, exact

warnings.simplefilter("always")
search = resolve_search(backend := Library(), None, search_cache=sys.argv[1])
search.search(["first"], 3)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # no file grows beyond it, as on a full disk
with warnings.catch_warnings(record=True) as told:
    for batch in range(20):
        queries = [f"{batch} {n} " + "x" * 1000 for n in range(20)]
        assert exact(search.search(queries, 3)) == exact(Library().search(queries, 3))
print(len(told), told[0].message)
"""


def test_a_full_disk_is_one_warning_and_the_file_stays_whole(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("1 searches are not cached any more"), said
    assert raw(tmp_path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    replayed = cached(Untouchable(), f"replay:{tmp_path}")
    assert replayed.search(["first"], 3)[0][0].title == "first"


WRITER = """
import sys
from igpo_gym.search import resolve_search
from tests.search.test_cache import Library

search = resolve_search(Library(), None, search_cache=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for n in range(int(sys.argv[2]), int(sys.argv[3])):
    search.search([f"query {n}", f"query {n + 1}"], 3)
    if n % 10 == 0:
        print(n, flush=True)
print(search.facts()["cache_hits"] + search.facts()["cache_misses"])
"""


def writer(folder: Path, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), str(first), str(last)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_one_file_at_once(tmp_path: Path) -> None:
    # Both make the file, then write at once, half of it the same queries.
    writers = [writer(tmp_path, 0, 150), writer(tmp_path, 75, 225)]
    for each in writers:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in writers:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in writers:
        out, _ = each.communicate()
        assert each.returncode == 0
        assert out.split()[-1] == "300"
    queries = [f"query {n}" for n in range(226)]
    replayed = cached(Untouchable(), f"replay:{tmp_path}").search(queries, 3)
    assert exact(replayed) == exact(Library().search(queries, 3))
    assert raw(tmp_path).execute("SELECT count(*) FROM answers").fetchone() == (226,)


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    killed = writer(tmp_path, 0, 1_000_000)
    assert killed.stdin is not None
    assert killed.stdout is not None
    killed.stdin.write("go\n")
    killed.stdin.flush()
    while killed.stdout.readline().strip() != "50":
        pass
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    search = cached(Untouchable(), tmp_path)
    queries = [f"query {n}" for n in range(51)]
    assert exact(search.search(queries, 3)) == exact(Library().search(queries, 3))
    assert cached(Library(), tmp_path).search(["another"], 3)[0][0].title == "another"
    assert raw(tmp_path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_first_of_two_answers_is_the_one_that_all_give(tmp_path: Path) -> None:
    """A backend that answers otherwise each time: what a recorded run saw is what is replayed."""

    class Fickle(Library):
        def __init__(self, between: Callable[[], object] = lambda: None) -> None:
            super().__init__()
            self.between = between

        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            self.between()
            return [[Passage(str(id(self)), query, "")] for query in queries]

    seen = []
    first = cached(Fickle(), tmp_path)
    second = cached(Fickle(lambda: seen.append(first.search(["a"], 1))), tmp_path)
    assert second.search(["a"], 1) == seen[0]


def test_threads_share_a_cache(tmp_path: Path) -> None:
    search = cached(Library(), tmp_path)
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = [search.search([f"query {n % 30}"], 3) for n in range(number, number + 60)]

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        wanted = [Library().search([f"query {n % 30}"], 3) for n in range(number, number + 60)]
        assert found[number] == wanted
    facts = search.facts()
    assert int(facts["cache_hits"]) + int(facts["cache_misses"]) == 240


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_cache_goes_on_in_a_forked_process(tmp_path: Path) -> None:
    search = cached(Library(), tmp_path)
    search.search(["parent"], 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which other tests have left
        child = os.fork()
    if child == 0:
        code = 1
        try:
            search.search(["child", "parent"], 3)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    search.search(["parent too"], 3)
    replayed = cached(Untouchable(), f"replay:{tmp_path}")
    assert [each[0].title for each in replayed.search(["child", "parent", "parent too"], 3)] == [
        "child",
        "parent",
        "parent too",
    ]


def test_a_backend_without_an_identity_is_told_what_to_add(tmp_path: Path) -> None:
    class Anonymous:
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return Library().search(queries, k)

    for setting in (str(tmp_path), f"replay:{tmp_path}"):
        with pytest.raises(SpecError, match="which backend Anonymous is: give it an attribute identity"):
            cached(Anonymous(), setting)
    cached(Anonymous(), f"{tmp_path}#backend=mine").search(["a"], 3)
    assert cached(Untouchable(), f"replay:{tmp_path}#backend=mine").search(["a"], 3)[0][0].title == "a"
    with pytest.raises(SpecError, match="no retriever: it has no search"):
        cached(42, tmp_path)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("", "names no folder"),
        ("replay:", "names no folder"),
        ("folder#backed=x", "has no option 'backed'; it has: backend"),
        (7, "not 7"),
    ],
)
def test_settings_that_are_none_are_told(setting: Any, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        CacheSetting.parse(setting)


def test_the_backends_own_facts_stand_beside_the_counts(tmp_path: Path) -> None:
    class Telling(Library):
        def facts(self) -> dict[str, str | int]:
            return {"dialect": "search-r1", "batches": len(self.asked)}

    search = cached(Telling(), tmp_path)
    search.search(["a", "b"], 3)
    assert search.facts() == {"dialect": "search-r1", "batches": 1, "cache_hits": 0, "cache_misses": 2}


def test_a_cache_as_an_object_is_shared_by_copies_and_goes_on_where_it_is_unpickled(tmp_path: Path) -> None:
    first = cached(None, tmp_path)
    found = first.search(["city"], 3)
    assert copy.deepcopy(first) is first
    later = pickle.loads(pickle.dumps(first))
    assert (later.search(["city"], 3), later.facts()) == (found, {"cache_hits": 1, "cache_misses": 0})
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    assert cached(f"bm25:{tmp_path}/index", tmp_path).search(["city"], 3) == found
    replayed = pickle.loads(pickle.dumps(cached(f"bm25:{tmp_path}/index", f"replay:{tmp_path}")))
    assert (replayed.search(["city"], 3), replayed.corpus[1]) == (found, PASSAGES[1])
    assert replayed.documents  # as the index has them


def test_a_folder_that_cannot_be_written_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of a write-ahead log share a file beside it, which has no place there."""
    script = (
        "import sys; from igpo_gym.search import resolve_search; from tests.search.test_cache import Library;"
        "resolve_search(Library(), None, search_cache=sys.argv[1]).search(['a'], 3)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["search.lock", "search.sqlite"]  # what is closed is one file
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as root may write everywhere
    tmp_path.chmod(0o555)
    try:
        found = cached(Untouchable(), f"replay:{tmp_path}").search(["a"], 3)
        assert sorted(path.name for path in tmp_path.iterdir()) == files
    finally:
        tmp_path.chmod(0o755)
    assert found[0][0].title == "a"
