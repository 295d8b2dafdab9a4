"""Reading what servers answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.episode import Passage
from igpo_gym.search.dialects import (
    DIALECTS,
    read_documents,
    read_passage,
    split_contents,
    write_document,
    write_passage,
)

MANY, ONE = DIALECTS["queries+scores"], DIALECTS["query+scores"]


@pytest.mark.parametrize(
    ("item", "passage", "score"),
    [
        (
            {"document": {"id": "7", "contents": '"Danzig"\nA port.'}, "score": 0.83},
            ("7", "Danzig", "A port."),
            0.83,
        ),
        ({"id": 7, "contents": "Danzig\nA port."}, ("7", "Danzig", "A port."), 0.0),
        ({"_id": "x", "title": "Danzig", "text": "A port.", "score": 2}, ("x", "Danzig", "A port."), 2.0),
        (
            {"docid": "d", "title": "Danzig", "contents": '"Danzig"\nA port.'},
            ("d", "Danzig", "A port."),
            0.0,
        ),
        ({"id": "d", "title": "Danzig", "contents": "A port.\nOld."}, ("d", "Danzig", "A port.\nOld."), 0.0),
        ({"url": "http://a/b", "content": "A port."}, ("http://a/b", "", "A port."), 0.0),
        ({"document": {"id": "1", "contents": "No title."}, "score": None}, ("1", "", "No title."), 0.0),
        ({"document": {"id": "1", "contents": "x"}, "score": float("nan")}, ("1", "", "x"), 0.0),
        ({"id": "1", "title": None, "text": "x", "score": True}, ("1", "", "x"), 0.0),
        ({"id": "1", "text": "x", "score": 10**400}, ("1", "", "x"), 0.0),
    ],
)
def test_documents_of_all_forms(item: Any, passage: tuple[str, str, str], score: float) -> None:
    read = read_passage(item)
    assert (read.id, read.title, read.text) == passage
    assert read.score == score


def test_a_document_without_an_id_gets_one_of_its_content() -> None:
    first, again, other = map(read_passage, ('"T"\nx', {"title": "T", "text": "x"}, '"T"\ny'))
    assert first.id == again.id != other.id
    nothing = [read_passage({"id": empty, "title": "T", "text": "x"}) for empty in ("", None, True, [])]
    assert {passage.id for passage in nothing} == {first.id}
    assert read_passage({"id": "", "docid": 0, "text": "x"}).id == "0"


@pytest.mark.parametrize(
    ("contents", "parts"),
    [
        ('"Danzig"\nA port.\nOld.', ("Danzig", "A port.\nOld.")),
        ("Danzig\nA port.", ("Danzig", "A port.")),
        ('""\nA port.', ("", "A port.")),
        ('"\nA port.', ('"', "A port.")),
        ("A port.", ("", "A port.")),
        ("", ("", "")),
    ],
)
def test_the_first_line_is_the_title(contents: str, parts: tuple[str, str]) -> None:
    assert split_contents(contents) == parts


TEXT = st.text(st.characters(), max_size=20)


@given(st.text(st.characters(), min_size=1, max_size=20), TEXT, TEXT)
def test_what_is_written_is_read_as_it_was(id_: str, title: str, text: str) -> None:
    passage = Passage(id_, title, text)
    document = json.loads(json.dumps(write_passage(passage)))
    assert read_passage(document) == passage
    assert read_documents([json.loads(json.dumps(write_document([passage])))], [id_]) == [(passage,)]


def test_at_most_k_passages_each_once() -> None:
    answer = {"result": [[{"id": i, "text": str(n)} for n, i in enumerate("aabacd")]]}
    (found,) = MANY.read(answer, ["q"], k=3)
    assert [(passage.id, passage.text) for passage in found] == [("a", "0"), ("b", "2"), ("c", "4")]


def test_the_field_of_the_id_can_be_named() -> None:
    (found,) = MANY.read({"result": [[{"id": 1, "wiki": "w", "text": "x"}]]}, ["q"], 3, id_field="wiki")
    assert found[0].id == "w"


@pytest.mark.parametrize("answer", [{"result": [["a", "b"]]}, {"result": ["a", "b"]}, ["a", "b"]])
def test_the_results_of_one_query_may_stand_alone(answer: Any) -> None:
    assert [[passage.text for passage in found] for found in ONE.read(answer, ["q"], 3)] == [["a", "b"]]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_query_that_found_nothing(dialect: str) -> None:
    assert DIALECTS[dialect].read({"result": [[]]}, ["q"], 3) == [[]]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"error": "no index"}, "no list 'result'.*no index"),
        ("busy", "no list 'result'"),
        (None, "no list 'result'"),
        ({"result": [[]]}, "1 results for 2 queries"),
        ({"result": [[], [], []]}, "3 results for 2 queries"),
        ({"result": [[], None]}, "no list: None"),
        ({"result": [[], [None]]}, "no document: None"),
        ({"result": [[], [{"document": 3}]]}, "no document"),
        ({"result": [[], [{"id": "1", "abstract": "x"}]]}, "no text among its fields: id, abstract"),
        ({"result": [[], [{}]]}, "no text among its fields: none"),
    ],
)
def test_a_wrong_answer_says_what_is_wrong(answer: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        MANY.read(answer, ["a", "b"], 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["result", "document", "contents", "text", "title", "id", "score", "passages"]),
            inner,
        )
    ),
)


@given(JSON, st.sampled_from(list(DIALECTS.values())))
def test_no_answer_raises_anything_else(answer: Any, dialect: Any) -> None:
    try:
        (found,) = dialect.read(answer, ["q"], 2)
        assert len(found) <= 2
        assert {type(each) for each in found} <= {Passage}
    except ValueError:
        pass
    try:
        (document,) = read_documents(answer, ["7"])
        assert {type(each) for each in document} <= {Passage}
    except ValueError:
        pass


def test_documents_of_another_server() -> None:
    answer = {"result": [{"contents": "Danzig\nA port."}, None, {"contents": ""}, "Danzig\nA port."]}
    whole = (Passage("7", "Danzig", "A port."),)
    assert read_documents(answer, ["7", "8", "9", "7"]) == [whole, (), (), whole]
    with pytest.raises(ValueError, match="4 documents for 1 ids"):
        read_documents(answer, ["7"])
