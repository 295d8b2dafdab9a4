from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.text import neutralize
from igpo_gym.viewer.marks import blocks, marked

TEXTS = st.text(alphabet="ab <>\n./", max_size=60)


@given(TEXTS, st.lists(TEXTS, max_size=3), st.lists(TEXTS.filter(str.strip), max_size=3))
def test_pieces_joined_are_the_text(text: str, passages: list[str], answers: list[str]) -> None:
    assert "".join(piece for piece, _ in marked(text, passages, answers)) == text


@given(TEXTS)
def test_blocks_lose_no_letter(text: str) -> None:
    shown = "".join(tag + inside for tag, inside in blocks(text))
    assert set("ab") & set(text) <= set(shown)


def test_a_passage_is_marked_as_far_as_it_is_shown() -> None:
    passage = "Danzig is a port at the mouth of the Vistula. " * 4
    reply = f"Doc 1(Title: Danzig) {passage[:100]}[... 84 characters cut]\nDoc 2(Title: Odra) A river."
    pieces = marked(reply, [passage], [])
    assert pieces[0] == (f"Doc 1(Title: Danzig) {passage[:100]}", "g")
    assert {mark for _, mark in pieces[1:]} == {""}


@pytest.mark.parametrize("place", [0, 1])
def test_of_passages_that_begin_alike_the_one_that_is_meant_is_marked(place: int) -> None:
    head = "Danzig (Polish: Gdańsk) is a city on the Baltic coast of northern Poland. "
    passages = [f"{head}It was founded in 997.", f"{head}It has a port, which lies at the sea."]
    lines = [f"Doc 1 {passages[0]}", f"Doc 2 {passages[1][:-12]}", "Doc 3 Odra."]
    pieces = marked("\n".join(lines), [passages[place]], [])
    assert [piece for piece, mark in pieces if mark] == [lines[place]]


def test_foreign_text_is_found_as_it_was_shown() -> None:
    assert marked("Doc 1 p ‹ 0.05 it is", ["p < 0.05 it is"], ["p < 0.05"]) == [
        ("Doc 1 ", "g"),
        ("p ‹ 0.05", "ga"),
        (" it is", "g"),
    ]


def test_answers_are_whole_words_in_any_letter_case() -> None:
    assert [
        piece
        for piece, mark in marked("GRASS, grasses; Günter\nGrass", [], ["Günter Grass", "Grass"])
        if mark
    ] == [
        "GRASS",
        "Günter\nGrass",
    ]
    assert marked("no, it is not", [], ["no"]) == [("no, it is not", "")]


def test_blocks_of_a_message() -> None:
    assert blocks('Well. <open page="2">Danzig</open> <think>unfinished') == [
        ("", "Well."),
        ('open page="2"', "Danzig"),
        ("think", "unfinished"),
    ]


@given(TEXTS, st.lists(TEXTS, max_size=3), st.lists(TEXTS.filter(str.strip), max_size=3))
def test_every_letter_has_the_marks_of_the_spans_that_hold_it(
    text: str, passages: list[str], answers: list[str]
) -> None:
    letters = [marks for piece, marks in marked(text, passages, answers) for _ in piece]
    golden = [set(marks) for piece, marks in marked(text, passages, []) for _ in piece]
    named = [set(marks) for piece, marks in marked(text, [], answers) for _ in piece]
    assert [set(marks) for marks in letters] == [
        one | other for one, other in zip(golden, named, strict=True)
    ]
    for passage in passages:
        if passage.strip() and (start := text.find(neutralize(passage).strip())) >= 0:
            assert all("g" in marks for marks in letters[start : start + len(neutralize(passage).strip())])
