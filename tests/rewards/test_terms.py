from __future__ import annotations

import math

import pytest

from igpo_gym.episode import Action, Answer, Belief, Episode, Invalid, Question, Search, Segment, Turn
from igpo_gym.rewards.terms import TERMS

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
    assert prices("format", episode) == [0.0, -1.0]


def test_each_invalid_message_is_malformed_once() -> None:
    assert prices("format", play(Invalid("a"), SEARCH, Answer("x"))) == [-1.0, 0.0, 0.0]
    assert prices("format", play(SEARCH, Invalid("a"), truncated=True)) == [0.0, -1.0]


def test_beliefs_that_do_not_match_the_turns_are_an_error() -> None:
    with pytest.raises(IndexError):
        prices("gain", play(SEARCH, SEARCH, beliefs=(0.1, 0.2)))


def test_terms_know_whether_they_need_a_scorer() -> None:
    assert {name for name, term in TERMS.items() if term.needs_belief} == {"gain", "log-gain"}
