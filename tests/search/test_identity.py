from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from igpo_gym import specs
from igpo_gym.data import QuestionSet
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import DataError, SpecError
from igpo_gym.search import BM25Index, resolve_search
from igpo_gym.search.cache_file import AnswerFile, Backend
from igpo_gym.search.hybrid import Hybrid
from igpo_gym.search.identity import passages_fingerprint, spec_identities

PASSAGES = (Passage("a", "Tin Drum", "a novel"), Passage("b", "Gdańsk", "a city"))
ASKED = (Question("1", "Who?", ("Grass",)),)
QUESTIONS = QuestionSet("tiny", ASKED, PASSAGES, fingerprint="abc")
HOST = "http://host:8000/retrieve"


def identity(search: str, questions: QuestionSet = QUESTIONS) -> str:
    (found,) = spec_identities(search, questions)
    return found


@pytest.mark.parametrize(
    "same",
    [
        "http://me:secret@host:8000/retrieve",
        "HTTP://Host:8000/retrieve",
        "http://host:8000/retrieve/",
        "http://host:8000/retrieve#timeout=3",
        "http://host:8000/retrieve#retries=0,concurrency=9",
    ],
)
def test_how_a_server_is_asked_is_not_which_it_is(same: str) -> None:
    assert identity(same) == identity(HOST) == HOST


@pytest.mark.parametrize(
    "other",
    [
        "http://host:8001/retrieve",
        "http://host:8000/other",
        "http://host:8000/Retrieve",
        "https://host:8000/retrieve",
        "http://host:8000/retrieve?index=wiki",
        "http://host:8000/retrieve#index=wiki",
    ],
)
def test_address_and_options_are_which_server_it_is(other: str) -> None:
    assert identity(other) != HOST
    assert len({identity(f"{HOST}#index=wiki,lang=de"), identity(f"{HOST}#lang=de,index=wiki")}) == 1


def test_replicas_have_an_identity_each() -> None:
    found = spec_identities(f"{HOST},http://me:secret@spare:8000/retrieve#index=wiki,timeout=2", QUESTIONS)
    assert found == (f"{HOST}#index=wiki", "http://spare:8000/retrieve#index=wiki")


class Server:
    """Stands for what speaks to servers: it says where it was first."""

    asked = 0

    def __init__(self, url: str, timeout: float = 1.0, key: str = "") -> None:
        self.url = url

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        type(self).asked += 1
        return [[Passage("1", self.url, query)] for query in queries]


@pytest.fixture
def server() -> Iterator[type[Server]]:
    specs.register("search", "test-server", Server)
    Server.asked = 0
    yield Server
    specs.unregister("search", "test-server")


@pytest.mark.parametrize("later", ["a,b", "b,a", "a,c", "c,a", "me:pw@a"])
def test_what_a_replica_said_is_said_by_all(server: type[Server], later: str, tmp_path: Path) -> None:
    def spec(hosts: str) -> str:
        return "test-server:" + ",".join(f"http://{host}" for host in hosts.split(","))

    first = resolve_search(spec("a"), QUESTIONS, tmp_path).search(["x"], 1)
    assert resolve_search(spec(later), QUESTIONS, tmp_path).search(["x"], 1) == first
    assert server.asked == 1
    resolve_search(spec("b"), QUESTIONS, tmp_path).search(["x"], 1)  # of whom nobody said it is a replica
    assert server.asked == 2


def recorded(folder: Path) -> list[str]:
    """What the backends of a cache were asked for as."""
    return list(AnswerFile(folder).backends())


def test_an_index_is_which_it_is_by_its_content(tmp_path: Path) -> None:
    for name in ("index", "copy"):
        BM25Index.build(PASSAGES).save(tmp_path / name)
    cache = tmp_path / "cache"
    for spec in (f"bm25:{tmp_path}/index", f"{tmp_path}/index", f"bm25:{tmp_path}/copy"):
        resolve_search(spec, QUESTIONS, cache)
        resolve_search(spec, QuestionSet("other", ASKED), cache)
    assert len(recorded(cache)) == 1
    BM25Index.build([*PASSAGES, Passage("c", "", "new")]).save(tmp_path / "index")
    resolve_search(f"bm25:{tmp_path}/index", QUESTIONS, cache)
    assert len(recorded(cache)) == 2


def test_an_index_tells_which_it_is(tmp_path: Path) -> None:
    index = BM25Index.build(PASSAGES)
    index.save(tmp_path / "index")
    same = (
        BM25Index.build(list(PASSAGES)),
        BM25Index.load(tmp_path / "index"),
        BM25Index.build_folder(PASSAGES, tmp_path / "other"),
        pickle.loads(pickle.dumps(index)),
        pickle.loads(pickle.dumps(BM25Index.load(tmp_path / "index"))),
    )
    assert {each.identity for each in same} == {index.identity}
    a, b = PASSAGES
    others = (
        (b, a),
        (a,),
        (a, replace(b, id="c")),
        (a, replace(b, title="")),
        (a, replace(b, text="a town")),
    )
    assert len({BM25Index.build(each).identity for each in (PASSAGES, *others)}) == 6
    BM25Index.build(others[0]).save(tmp_path / "index")
    assert BM25Index.load(tmp_path / "index").identity == BM25Index.build(others[0]).identity


def test_an_index_of_a_program_needs_no_name_in_a_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    found = resolve_search(BM25Index.build(PASSAGES), None, cache).search(["novel"], 1)
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    again = resolve_search(BM25Index.load(tmp_path / "index"), None, f"replay:{cache}")
    assert again.search(["novel"], 1) == found
    with pytest.raises(DataError, match="nothing was recorded of BM25Index"):
        resolve_search(BM25Index.build(PASSAGES[:1]), None, f"replay:{cache}")


def test_the_name_of_a_spec_s_index_stays_that_of_its_content(tmp_path: Path) -> None:
    """So a cache that was recorded before an index told its identity answers as before."""
    (name,) = spec_identities("bm25", QUESTIONS)
    AnswerFile(tmp_path).name(name, Backend(name, True))
    resolve_search("bm25", QUESTIONS, tmp_path).search(["novel"], 1)
    assert AnswerFile(tmp_path).backends() == {name: Backend(name, True)}


def test_the_questions_passages_are_which_backend_it_is(tmp_path: Path) -> None:
    bare, copy = (QuestionSet(name, ASKED, tuple(PASSAGES)) for name in ("tiny", "copy"))
    others = QuestionSet("tiny", ASKED, (PASSAGES[0], Passage("b", "Gdańsk", "a port")))
    for spec, questions in ((None, QUESTIONS), ("bm25", QUESTIONS), (None, bare), (None, copy)):
        resolve_search(spec, questions, tmp_path)
    assert len(recorded(tmp_path)) == 2
    resolve_search(None, others, tmp_path)
    assert len(recorded(tmp_path)) == 3
    assert passages_fingerprint(QUESTIONS) == "abc"


class Overlap:
    """One that searches the questions' passages."""

    def __init__(self, *, questions: QuestionSet, least: int = 1) -> None: ...

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [[] for _ in queries]


class Named:
    """One that says itself which it is, once it is made."""

    made = 0

    def __init__(self, place: str, *, depth: int = 1) -> None:
        type(self).made += 1
        self.identity = f"named {depth}"

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [[Passage("1", self.identity, "")] for _ in queries]


def test_who_asks_for_questions_is_another_with_other_passages() -> None:
    name = f"{__name__}:Overlap"
    assert identity(name) == f"{name} abc"
    assert identity(f"{name}#least=2") == f"{name}#least=2 abc"


def test_what_a_spec_makes_may_say_which_it_is(tmp_path: Path) -> None:
    name = f"{__name__}:Named"
    for spec in (f"{name}:here", f"{name}:there", f"{name}:there#depth=2"):
        resolve_search(spec, QUESTIONS, tmp_path).search(["x"], 1)
    with sqlite3.connect(tmp_path / "search.sqlite") as file:
        assert file.execute("SELECT count(*) FROM answers").fetchone() == (2,)  # depth 1, and depth 2
    # A replay makes nothing, and finds it by what was asked for.
    made = Named.made
    for spec, title in ((f"{name}:here", "named 1"), (f"{name}:there#depth=2", "named 2")):
        replayed = resolve_search(spec, QUESTIONS, f"replay:{tmp_path}")
        assert replayed.search(["x"], 1)[0][0].title == title
    assert Named.made == made
    with pytest.raises(DataError, match="nothing was recorded of"):
        resolve_search(f"{name}:elsewhere", QUESTIONS, f"replay:{tmp_path}")


def test_an_identity_is_a_text(tmp_path: Path) -> None:
    broken = Server("x")
    broken.identity = 7  # type: ignore[attr-defined]
    with pytest.raises(SpecError, match="the identity of Server must be a text, not 7"):
        resolve_search(broken, QUESTIONS, tmp_path)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(SpecError, match="unknown search"):
        spec_identities("no-such-thing", QUESTIONS)


def test_a_hybrid_is_all_of_its_parts(tmp_path: Path) -> None:
    for name in ("index", "copy"):
        BM25Index.build(PASSAGES).save(tmp_path / name)
    index, copy = (f"bm25:{tmp_path}/{name}" for name in ("index", "copy"))
    other = QuestionSet("other", ASKED, fingerprint="def")
    servers = identity(f"hybrid:{HOST},http://other:8000")
    assert servers == f"hybrid:[{HOST}][http://other:8000]" != identity(f"hybrid:{index},http://other:8000")
    same = identity(f"hybrid:{index},http://me:secret@Host:8000/retrieve%23timeout=3#k=9")
    assert same == identity(f"hybrid:{copy},{HOST}#k=9", other) != identity(f"hybrid:{copy},{HOST}#k=10")
    assert identity(f"hybrid:bm25,{HOST}") != identity(f"hybrid:bm25,{HOST}", other)
    replicas = spec_identities(f"hybrid:{HOST}%2Chttp://spare:8000,bm25", QUESTIONS)
    assert replicas == tuple(identity(f"hybrid:{host},bm25") for host in (HOST, "http://spare:8000"))
    BM25Index.build(PASSAGES[:1]).save(tmp_path / "copy")
    assert identity(f"hybrid:{copy},{HOST}#k=9") != same


def test_a_hybrid_tells_its_identity_where_all_of_its_parts_do() -> None:
    one, two = Named("here"), Named("there", depth=2)
    assert "named 1 | named 2" in Hybrid([one, two]).identity
    assert Hybrid([one, Server("x")]).identity == ""
    two.identity = ""
    assert Hybrid([one, two]).identity == ""
