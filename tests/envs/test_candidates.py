from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from igpo_gym.data.metrics import normalize
from igpo_gym.envs.candidates import CANDIDATE_FEATURES, TURN_FEATURES, candidates, names_in
from igpo_gym.episode import Answer, Invalid, Passage, ToolResult, Turn
from igpo_gym.tools import search_call
from tests.conftest import PASSAGES, QUESTIONS

DRUM, GRASS, DANZIG, VISTULA, *_ = PASSAGES
QUESTION = QUESTIONS[1].text  # Where was the author of The Tin Drum born?


def search(query: str, *passages: Passage) -> Turn:
    return Turn(f"<search>{query}</search>", search_call(query), results=(ToolResult(passages=(passages,)),))


def feature(question: str, turns: list[Turn], name: str, what: str, slots: int = 8) -> float:
    found = candidates(question, turns, slots, max_turns=4)
    return float(found.features[found.names.index(name), CANDIDATE_FEATURES.index(what)])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The Tin Drum is a novel of 1959 by Günter Grass.", ("Tin Drum", "Günter Grass")),
        ("She works for the Ferhus Guild. See also Salman and Tumvel.", ("Ferhus Guild", "Salman", "Tumvel")),
        ("What is the capital of the region that contains Salman?", ("Salman",)),
        (
            "It was University of Oxford, Vincent van Gogh and the",
            ("University of Oxford", "Vincent van Gogh"),
        ),
        ("The Drum, the Drum and Drum", ("Drum",)),
        ("Łódź; Österreich's O'Neill", ("Łódź", "Österreich's O'Neill")),
        ("who wrote it?", ()),
        ("", ()),
    ],
)
def test_names_are_capitalized_runs_without_function_words(text: str, names: tuple[str, ...]) -> None:
    assert names_in(text) == names


@given(st.text())
def test_any_text_has_names_that_stand_in_it(text: str) -> None:
    names = names_in(text)
    assert all(name and name in text for name in names)
    assert len({normalize(name) for name in names}) == len(names)


def test_candidates_come_from_the_question_before_any_search() -> None:
    found = candidates(QUESTION, [], slots=4, max_turns=4)
    assert found.names == ("Tin Drum",)
    assert found.features[0, :2].tolist() == [1, 1]
    assert not found.features[1:].any()
    assert found.turn_features.tolist()[:2] == [0, 0]


def test_titles_and_names_of_passages_join_them_the_relevant_ones_first() -> None:
    found = candidates(QUESTION, [search("Tin Drum", VISTULA, DRUM)], slots=8, max_turns=4)
    # Of the passage about what was searched come the title (the question's own name) and then its names.
    assert found.names == ("Tin Drum", "Günter Grass", "Vistula", "Odra")
    assert found.searched == (True, False, False, False)


def test_what_was_found_last_comes_first_among_its_like() -> None:
    turns = [search("Tin Drum", DRUM), search("Günter Grass", GRASS)]
    assert candidates(QUESTION, turns, 8, 4).names == ("Tin Drum", "Günter Grass", "Danzig")
    turns.append(search("Danzig", DANZIG))
    assert candidates(QUESTION, turns, 8, 4).names == (
        "Tin Drum",
        "Danzig",
        "Gdańsk",
        "Vistula",
        "Günter Grass",
    )
    assert candidates(QUESTION, turns, 3, 4).names == ("Tin Drum", "Danzig", "Gdańsk")


def test_features_say_where_a_name_was_seen() -> None:
    turns = [search("Tin Drum", DRUM), search("Günter Grass", DRUM, GRASS)]
    assert feature(QUESTION, turns, "Günter Grass", "in_question") == 0
    assert feature(QUESTION, turns, "Günter Grass", "is_title") == 1
    assert feature(QUESTION, turns, "Danzig", "is_title") == 0
    assert feature(QUESTION, turns, "Günter Grass", "passages") == pytest.approx(2 / 5)
    assert feature(QUESTION, turns, "Danzig", "in_latest") == 1
    assert feature(QUESTION, turns, "Danzig", "rank") == pytest.approx(1 / 2)
    assert feature(QUESTION, turns, "Danzig", "about_latest") == 1
    assert feature(QUESTION, turns, "Tin Drum", "about_latest") == 0
    assert feature(QUESTION, turns, "Günter Grass", "searched") == 1
    assert feature(QUESTION, turns, "Danzig", "searched") == 0
    turns.append(search("nothing"))
    assert feature(QUESTION, turns, "Danzig", "in_latest") == 0
    assert feature(QUESTION, turns, "Danzig", "rank") == 0


def test_links_lead_from_the_question_s_names_over_the_titles_of_passages() -> None:
    turns = [search("Tin Drum", DRUM), search("Günter Grass", GRASS), search("Danzig", DANZIG)]
    names = ("Tin Drum", "Günter Grass", "Danzig", "Vistula")
    assert [feature(QUESTION, turns, name, "links") for name in names] == [0, 0.25, 0.5, 0.75]


def test_a_title_is_linked_with_what_its_passage_names_in_both_directions() -> None:
    film = Passage("film", "Volker", "Volker filmed The Tin Drum and lives in Berlin.")
    names = ("Tin Drum", "Volker", "Berlin")
    assert [feature(QUESTION, [search("x", film)], name, "links") for name in names] == [0, 0.25, 0.5]
    about = Passage("about", "The Tin Drum", "The Tin Drum was filmed by Volker.")
    assert feature(QUESTION, [search("x", about)], "Volker", "links") == 0.25
    apart = Passage("apart", "Elsewhere", "Elsewhere is near Nowhere.")
    assert [feature(QUESTION, [search("x", apart)], name, "links") for name in names[:1]] == [0]
    assert [feature(QUESTION, [search("x", apart)], name, "links") for name in ("Elsewhere", "Nowhere")] == [
        1,
        1,
    ]


@given(st.permutations(["drum", "grass", "danzig", "vistula", "film"]))
def test_links_are_the_shortest_ways_whatever_was_found_first(order: list[str]) -> None:
    film = Passage("film", "Volker", "Volker filmed The Tin Drum and lives in Berlin.")
    passages = {each.id: each for each in (DRUM, GRASS, DANZIG, VISTULA, film)}
    # Written down by hand from the passages: who names whom.
    pairs = [
        ("Tin Drum", "Günter Grass"),
        ("Günter Grass", "Danzig"),
        ("Danzig", "Gdańsk"),
        ("Danzig", "Vistula"),
        ("Vistula", "Odra"),
        ("Volker", "Tin Drum"),
        ("Volker", "Berlin"),
    ]
    names = sorted({name for pair in pairs for name in pair})
    places = {name: place for place, name in enumerate(names)}
    rows, columns = zip(*[(places[one], places[other]) for one, other in pairs], strict=True)
    graph = csr_matrix((np.ones(len(pairs)), (rows, columns)), shape=(len(names),) * 2)
    ways = dijkstra(graph, directed=False, unweighted=True, indices=places["Tin Drum"])
    turns = [search("x", passages[each]) for each in order]
    told = [feature(QUESTION, turns, name, "links", slots=12) for name in names]
    assert told == [min(way / 4, 1) for way in ways]


INVALID = Turn("hm", Invalid("no action"))
DOWN = Turn("down", search_call("Danzig"), results=(ToolResult("unavailable", failed=True),))


@pytest.mark.parametrize("idle", [INVALID, DOWN])
def test_the_latest_search_is_the_latest_that_worked(idle: Turn) -> None:
    """A message that is no action, or finds the backend down, changes the turn's number alone."""
    turns = [search("Tin Drum", DRUM), search("Günter Grass", DRUM, GRASS)]
    before, after = (candidates(QUESTION, each, 8, 4) for each in (turns, [*turns, idle]))
    assert after.names == before.names
    assert np.array_equal(after.features, before.features)
    told = dict(zip(TURN_FEATURES, after.turn_features.tolist(), strict=True))
    assert (told["turn"], told["last_turn"], told["new_passages"]) == (3 / 4, 1, 1 / 2)


def test_a_search_whose_backend_was_down_may_be_tried_again() -> None:
    turns = [search("Günter Grass", GRASS), DOWN]
    assert feature(QUESTION, turns, "Danzig", "searched") == 0
    assert feature(QUESTION, [*turns, search("Danzig")], "Danzig", "searched") == 1
    asked = Turn("down", search_call(QUESTION), results=DOWN.results)
    assert not candidates(QUESTION, [asked], 4, 4).question_searched


def test_overlap_tells_the_question_s_first_words_from_its_last() -> None:
    question = "Who painted the portrait of the mayor that governs Danzig?"
    mayor = Passage("m", "Danzig", "Danzig has the mayor Anna Berg. The portrait of Otto hangs there.")
    turns = [search("Danzig", mayor)]
    # Content words, by their first five letters: paint, portr | mayor, gover.
    assert feature(question, turns, "Anna Berg", "overlap_early") == 0
    assert feature(question, turns, "Anna Berg", "overlap_late") == pytest.approx(1 / 2)
    assert feature(question, turns, "Otto", "overlap_early") == pytest.approx(1 / 2)
    assert feature(question, turns, "Otto", "overlap_late") == 0


def test_turn_features_tell_the_time_and_what_is_new() -> None:
    turns = [search("Tin Drum", DRUM, GRASS), search("Grass", GRASS, DANZIG)]
    found = candidates(QUESTION, turns, 4, max_turns=3)
    turn, last, words, names, new = found.turn_features.tolist()
    assert (turn, last, new) == (pytest.approx(2 / 3), 1, pytest.approx(1 / 2))
    assert words == pytest.approx(4 / 30)  # author, tin, drum, born
    assert names == pytest.approx(1 / 4)


def test_the_question_itself_counts_as_a_search() -> None:
    assert not candidates(QUESTION, [], 4, 4).question_searched
    assert candidates(QUESTION, [search(QUESTION, DRUM)], 4, 4).question_searched


def test_probabilities_fill_their_two_columns() -> None:
    found = candidates(QUESTION, [search("Tin Drum", DRUM)], 4, 4).with_probabilities([0.1, 0.3])
    assert found.features[:2, -2:].ravel().tolist() == pytest.approx([0.1, 0.25, 0.3, 0.75])
    assert not found.features[2:].any()


_TURNS = st.lists(
    st.one_of(
        st.builds(
            search,
            st.sampled_from(["Danzig", "Günter Grass", QUESTION, "zzz"]),
            *[st.sampled_from(PASSAGES)] * 2,
        ),
        st.builds(lambda query: search(query), st.text(min_size=1)),
        st.just(Turn("x", Answer("x"))),
    ),
    max_size=4,
)


@given(_TURNS, st.integers(1, 12), st.sampled_from([question.text for question in QUESTIONS]))
def test_features_stay_within_bounds_and_the_transcript_decides(
    turns: list[Turn], slots: int, question: str
) -> None:
    found = candidates(question, turns, slots, max_turns=4)
    assert found.features.shape == (slots, len(CANDIDATE_FEATURES))
    assert found.turn_features.shape == (len(TURN_FEATURES),)
    for values in (found.features, found.turn_features):
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= 1
    assert not found.features[len(found.names) :].any()
    text = question + "".join(p.title + p.text for turn in turns for p in turn.passages)
    assert all(name in text for name in found.names)


@given(
    st.lists(
        st.sampled_from(["The", "of", "Grass", "la", "novel", "Günter", "May", "1959", "."]), max_size=20
    )
)
def test_names_begin_and_end_with_words_of_their_own(words: list[str]) -> None:
    text = " ".join(words)
    for name in names_in(text):
        assert name in text
        first, *_, last = (*name.split(), name.split()[-1])
        assert first not in ("The", "May", "of")
        assert last not in ("of", "la")
