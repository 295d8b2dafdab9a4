from __future__ import annotations

import pytest

from igpo_gym.episode import (
    Answer,
    Belief,
    BeliefView,
    EndReason,
    Episode,
    Question,
    Segment,
    Turn,
)
from igpo_gym.tools import search_call

QUESTION = Question("1", "Who?", ("A",))


def prompt() -> tuple[Segment, ...]:
    return (Segment("environment", "system", "Be good."), Segment("environment", "user", "Who?"))


def searched() -> Turn:
    segments = (Segment("agent", "assistant", "look"), Segment("environment", "assistant", "found"))
    return Turn("look", search_call("q"), segments, observation="found")


def test_an_episode_as_it_was_is_a_copy_without_what_was_measured() -> None:
    episode = Episode(QUESTION, prompt(), attempt=2)
    for _ in range(2):
        episode.append(searched())
    episode.end = EndReason.TURNS_EXHAUSTED
    episode.beliefs = [Belief((-1.0,))] * 3
    episode.views = [{BeliefView("evidence"): Belief((-1.0,))}] * 3
    then = episode.until(1)
    assert (then.turns, then.segments, then.attempt) == (episode.turns[:1], episode.context(1), 2)
    assert (then.beliefs, then.views, then.measured, then.rewards, then.done) == ([], [], [], [], False)
    then.append(searched())
    assert len(episode.turns) == 2
    assert episode.until(2).done


def test_an_episode_grows_and_ends_with_an_answer() -> None:
    episode = Episode(QUESTION, prompt())
    assert episode.prompt_text == "Be good.Who?"
    assert not episode.done
    assert episode.prediction is None
    episode.append(searched())
    assert not episode.done
    episode.append(Turn("done", Answer("A"), (Segment("agent", "assistant", "done"),)), EndReason.ANSWERED)
    assert episode.terminated
    assert episode.done
    assert episode.prediction == "A"
    with pytest.raises(ValueError, match="ended"):
        episode.append(searched())


def test_the_context_of_a_turn_never_changes() -> None:
    episode = Episode(QUESTION, prompt())
    contexts = [episode.context(0)]
    for turn in range(1, 4):
        episode.append(searched())
        contexts.append(episode.context(turn))
    assert [len(context) for context in contexts] == [2, 4, 6, 8]
    assert [episode.context(turn) for turn in range(4)] == contexts
    assert episode.segments == contexts[-1]


def test_inline_replies_are_one_message_of_the_assistant() -> None:
    episode = Episode(QUESTION, prompt())
    episode.append(searched())
    assert episode.messages() == [
        {"role": "system", "content": "Be good."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "lookfound"},
    ]


@pytest.mark.parametrize("reason", EndReason)
def test_an_episode_is_terminated_or_truncated_by_its_reason(reason: EndReason) -> None:
    episode = Episode(QUESTION, prompt())
    episode.append(searched(), reason)
    by_the_agent = reason in (EndReason.ANSWERED, EndReason.INVALID_MESSAGE)
    assert (episode.terminated, episode.truncated) == (by_the_agent, not by_the_agent)
    assert episode.states == (1 if by_the_agent else 2)


def test_a_fork_goes_on_alone() -> None:
    episode = Episode(QUESTION, prompt())
    episode.append(searched())
    episode.beliefs.append(Belief((-1.0,)))
    fork = episode.fork()
    assert fork == episode
    fork.append(searched(), EndReason.TURNS_EXHAUSTED)
    fork.beliefs.append(Belief((-2.0,)))
    fork.extra["note"] = "of the fork"
    assert (len(episode.turns), len(episode.beliefs), episode.done) == (1, 1, False)
    assert not episode.extra
    assert episode.segments == fork.context(1)
