from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.episode import (
    Action,
    Answer,
    Belief,
    Episode,
    Invalid,
    Passage,
    Question,
    Search,
    Segment,
    Turn,
)
from igpo_gym.rewards.terms import TERMS, potential

QUESTION = Question("1", "Where?", ("Danzig", "the port of Danzig"))
SEGMENT = Segment("agent", "assistant", "m")


def play(*actions: Action, beliefs: tuple[float, ...] = (), truncated: bool = False) -> Episode:
    episode = Episode.begin(QUESTION, (Segment("environment", "user", "Where?"),))
    for action in actions:
        episode.append(Turn("m", action), (SEGMENT,) if isinstance(action, Answer) else (SEGMENT, SEGMENT))
    episode.beliefs = [Belief((math.log(belief), math.log(belief / 2))) for belief in beliefs]
    episode.truncated = truncated
    return episode


def prices(name: str, episode: Episode) -> list[float]:
    return [TERMS[name].price(episode, turn) for turn in range(1, len(episode.turns) + 1)]


SEARCH = Search(("q",))


def test_gain_is_the_change_of_the_best_probability() -> None:
    episode = play(SEARCH, SEARCH, Invalid("no"), Answer("x"), beliefs=(0.1, 0.4, 0.3, 0.3))
    assert prices("gain", episode) == pytest.approx([0.3, -0.1, 0.0, 0.0])


def test_log_gain_is_the_change_in_nats() -> None:
    episode = play(SEARCH, SEARCH, Answer("x"), beliefs=(0.1, 0.4, 0.2))
    assert prices("log-gain", episode) == pytest.approx([math.log(4), -math.log(2), 0.0])


def test_gains_sum_to_the_whole_change() -> None:
    beliefs = (0.01, 0.3, 0.2, 0.9)
    assert sum(prices("gain", play(SEARCH, SEARCH, SEARCH, beliefs=beliefs))) == pytest.approx(0.89)


@pytest.mark.parametrize("name", ["gain", "log-gain"])
def test_a_failed_search_pays_no_gain(name: str) -> None:
    episode = play(SEARCH, beliefs=(0.1, 0.4))
    episode.turns[0] = Turn("m", SEARCH, search_failed=True)
    assert prices(name, episode) == [0.0]


def test_f1_and_em_are_paid_on_the_last_turn_alone() -> None:
    episode = play(SEARCH, Answer("port Danzig"))
    assert prices("f1", episode) == pytest.approx([0.0, 2 * 1.0 * (2 / 3) / (1 + 2 / 3)])
    assert prices("em", episode) == [0.0, 0.0]
    assert prices("em", play(SEARCH, Answer("danzig."))) == [0.0, 1.0]


def test_a_truncated_episode_scores_nothing_and_is_malformed() -> None:
    episode = play(SEARCH, SEARCH, truncated=True)
    assert prices("f1", episode) == prices("em", episode) == [0.0, 0.0]
    assert prices("format-penalty", episode) == [0.0, 1.0]


def test_each_invalid_message_is_malformed_once() -> None:
    assert prices("format-penalty", play(Invalid("a"), SEARCH, Answer("x"))) == [1.0, 0.0, 0.0]
    assert prices("format-penalty", play(SEARCH, Invalid("a"), truncated=True)) == [0.0, 1.0]


def test_beliefs_that_do_not_match_the_turns_are_an_error() -> None:
    with pytest.raises(IndexError):
        prices("gain", play(SEARCH, SEARCH, beliefs=(0.1, 0.2)))


def test_only_a_new_best_belief_pays() -> None:
    episode = play(SEARCH, SEARCH, SEARCH, SEARCH, beliefs=(0.2, 0.5, 0.3, 0.4, 0.6))
    assert prices("new-best", episode) == pytest.approx([0.3, 0.0, 0.0, 0.1])


def test_the_potential_of_an_end_is_nothing() -> None:
    assert prices("potential", play(SEARCH, Answer("x"), beliefs=(0.2, 0.5))) == pytest.approx([0.3, -0.5])
    shaped = potential(gamma=0.9)
    episode = play(SEARCH, SEARCH, beliefs=(0.2, 0.5, 0.7), truncated=True)
    assert [shaped.price(episode, turn) for turn in (1, 2)] == pytest.approx([0.9 * 0.5 - 0.2, -0.5])


beliefs = st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8)


@given(st.floats(0, 1), beliefs, beliefs, st.floats(0.01, 0.99), st.booleans())
def test_shaping_by_the_potential_ranks_trajectories_as_before(
    gamma: float, first: list[float], second: list[float], start: float, answers: bool
) -> None:
    """Two trajectories of one question begin with one belief, so shaping moves their returns alike."""
    term = potential(gamma)

    def shaped_return(rest: list[float]) -> float:
        actions = [SEARCH] * len(rest) + ([Answer("x")] if answers else [])
        episode = play(*actions, beliefs=(start, *rest), truncated=not answers)
        return sum(gamma ** (turn - 1) * term.price(episode, turn) for turn in range(1, len(actions) + 1))

    assert shaped_return(first) == pytest.approx(-start)
    assert shaped_return(second) == pytest.approx(-start)


def found(*ids: str) -> Turn:
    return Turn("m", SEARCH, results=(tuple(Passage(name, name, "") for name in ids),))


def test_evidence_and_redundancy_by_hand() -> None:
    episode = play(SEARCH, SEARCH, SEARCH, Invalid("no"), Answer("x"))
    episode.question = Question("1", "Where?", ("A",), evidence=("a", "b", "b2", "c"))
    episode.turns[:3] = [found("a", "x", "b"), found("a", "x", "c", "y"), found()]
    assert prices("evidence-recall", episode) == pytest.approx([0.5, 0.25, 0.0, 0.0, 0.0])
    assert prices("redundancy", episode) == pytest.approx([0.0, -0.5, 0.0, 0.0, 0.0])
    assert prices("search-cost", episode) == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_evidence_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="'1' names no gold evidence"):
        prices("evidence-recall", play(SEARCH))


def test_a_failed_search_pays_no_new_best() -> None:
    episode = play(SEARCH, beliefs=(0.1, 0.4))
    episode.turns[0] = Turn("m", SEARCH, search_failed=True)
    assert prices("new-best", episode) == [0.0]


def test_terms_say_what_they_need_and_where_they_are_from() -> None:
    needs = {name: set(term.needs) for name, term in TERMS.items() if term.needs}
    beliefs = {name: {"belief"} for name in ("gain", "log-gain", "new-best", "potential")}
    assert needs == {**beliefs, "evidence-recall": {"evidence"}}
    assert all(term.formula and term.source for term in TERMS.values())
