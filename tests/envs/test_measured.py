"""Instruments from outside: asked once a step, undone with it, recorded, and taken from the record."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from igpo_gym import specs
from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode
from igpo_gym.errors import SpecError
from igpo_gym.rewards import RewardFunction, RewardTerm, resolve_reward
from igpo_gym.rewards.interface import State
from igpo_gym.rewards.relabel import relabel
from tests.conftest import QUESTIONS, MentionScorer

SEARCH = "<search>Tin Drum</search>"


class Judge:
    """Tells how long the latest message was, in words, and whether it was a search."""

    name = "judge"

    def __init__(self, version: str = "words/1") -> None:
        self.version = version
        self.calls: list[int] = []

    def measure(self, states: Sequence[State]) -> list[Any]:
        self.calls.append(len(states))
        last = [episode.turns[turn - 1].message if turn else "" for episode, turn in states]
        return [{"words": len(message.split()), "search": "<search>" in message} for message in last]


def judged(judge: Any) -> RewardFunction:
    def words(episode: Episode, turn: int) -> float:
        return -float(episode.measured[turn]["judge"]["words"])

    return RewardFunction(
        "judged", ((1.0, RewardTerm("words", words, instruments=(judge,), last_turn=True)),)
    )


def play(engine: Engine, *messages: str) -> Episode:
    (episode,) = engine.begin(QUESTIONS[:1])
    engine.start([episode])
    for message in messages:
        engine.settle(engine.play([episode], [message]))
    return episode


def test_an_instrument_is_asked_once_a_step_for_all_states_the_last_included(engine: Engine) -> None:
    judge = Judge()
    twice = judged(judge)
    twice = dataclasses.replace(
        twice, terms=(*twice.terms, (1.0, dataclasses.replace(twice.terms[0][1], name="again")))
    )
    engine = dataclasses.replace(engine, reward=twice)
    episodes = engine.begin(QUESTIONS[:2])
    engine.start(episodes)
    assert engine.settle(engine.play(episodes, [SEARCH, "<answer>Danzig or so</answer>"])) == [-4.0, -6.0]
    assert judge.calls == [2, 2]
    assert [len(episode.measured) for episode in episodes] == [2, 2]
    assert episodes[1].measured[1] == {"judge": {"words": 3, "search": False}}
    assert episodes[0].instruments == {"judge": "words/1"}


def test_an_instrument_that_fails_leaves_every_episode_as_it_was(engine: Engine) -> None:
    class Failing(Judge):
        def measure(self, states: Sequence[State]) -> list[Any]:
            if len(self.calls) == 1:
                self.calls.append(0)
                raise OSError("the judge is down")
            return super().measure(states)

    engine = dataclasses.replace(engine, reward=judged(Failing()))
    (episode,) = engine.begin(QUESTIONS[:1])
    engine.start([episode])
    before = to_record(episode)
    with pytest.raises(OSError, match="down"):
        engine.settle(engine.play([episode], [SEARCH]))
    assert to_record(episode) == before
    assert engine.settle(engine.play([episode], [SEARCH])) == [-2.0]


def test_one_value_a_state_is_due(engine: Engine) -> None:
    class Short(Judge):
        def measure(self, states: Sequence[State]) -> list[Any]:
            return []

    engine = dataclasses.replace(engine, reward=judged(Short()))
    (episode,) = engine.begin(QUESTIONS[:1])
    with pytest.raises(ValueError, match="'judge' gave 0 values for 1 states"):
        engine.start([episode])
    assert (episode.measured, episode.instruments) == ([], {})


def test_copies_have_what_belongs_to_them(engine: Engine) -> None:
    episode = play(dataclasses.replace(engine, reward=judged(Judge())), SEARCH)
    fork = episode.fork()
    fork.note({"judge": 1}, {"judge": "other"})
    assert (len(episode.measured), episode.instruments) == (2, {"judge": "words/1"})
    assert (episode.until(1).measured, episode.until(1).instruments) == ([], {})


def test_a_verdict_of_the_same_version_is_taken_from_the_record(engine: Engine) -> None:
    played = play(dataclasses.replace(engine, reward=judged(Judge())), SEARCH, "<answer>Grass</answer>")
    episode = from_record(json.loads(json.dumps(to_record(played))))
    assert episode == played
    for version, calls in (("words/1", []), ("words/2", [3]), ("", [3])):
        judge = Judge(version)
        (priced,) = relabel([episode], [judged(judge)])
        assert judge.calls == calls
        assert priced.rewards["judged"] == [{"words": -2.0}, {"words": -1.0}]
        assert priced.episode.measured == episode.measured
        assert priced.episode.instruments == {"judge": version}
    # Other rewards ask no judge, and keep what it said.
    (priced,) = relabel([episode], ["outcome-f1"])
    assert (priced.episode.measured, priced.episode.instruments) == (episode.measured, episode.instruments)


def test_what_was_not_recorded_is_measured_for_a_batch_in_one_call(engine: Engine) -> None:
    known = play(dataclasses.replace(engine, reward=judged(Judge())), SEARCH)
    unknown = [play(engine, SEARCH), play(engine, SEARCH, "<answer>Grass</answer>")]
    judge = Judge()
    assert len(list(relabel([known, *unknown], [judged(judge)]))) == 3
    assert judge.calls == [2 + 3]


@pytest.fixture
def registered() -> Iterator[None]:
    class Believes(Judge):
        def __init__(self, scorer: MentionScorer, words: int = 1) -> None:
            super().__init__()
            self.scorer, self.words = scorer, words

        def measure(self, states: Sequence[State]) -> list[Any]:
            return [{"words": self.words * isinstance(self.scorer, MentionScorer)} for _ in states]

    specs.register("instrument", "believes", Believes)
    yield
    specs.unregister("instrument", "believes")


@pytest.mark.usefixtures("registered")
def test_a_registered_instrument_is_made_from_what_there_is(engine: Engine) -> None:
    name = "believes(words=3)"
    term = RewardTerm(
        "words", lambda episode, turn: episode.measured[turn][name]["words"], instruments=(name,)
    )
    reward = RewardFunction("mine", ((1.0, term),))
    assert (set(reward.needs), term.cost) == ({"scorer"}, name)
    engine = dataclasses.replace(engine, reward=reward)
    (episode,) = engine.begin(QUESTIONS[:1])
    engine.start([episode])
    assert engine.settle(engine.play([episode], [SEARCH])) == [3.0]
    with pytest.raises(ValueError, match="'mine' needs a scorer"):
        dataclasses.replace(engine, scorer=None)
    with pytest.raises(SpecError, match="unknown instrument 'believer'; did you mean believes"):
        _ = dataclasses.replace(term, instruments=("believer",)).needs


def test_what_is_no_instrument_is_refused_at_once(engine: Engine) -> None:
    with pytest.raises(SpecError, match="is no instrument: it has no name"):
        dataclasses.replace(engine, reward=judged(3))
    both = RewardFunction(
        "both", (*judged(Judge()).terms, (1.0, RewardTerm("b", lambda *_: 0.0, instruments=(Judge("2"),))))
    )
    with pytest.raises(ValueError, match="two instruments have the name 'judge'"):
        dataclasses.replace(engine, reward=both)


def test_a_values_recording_is_priced_without_a_policy(engine: Engine) -> None:
    class Silent:
        def act(self, episodes: Sequence[Episode]) -> list[str]:
            return ["<answer>Grass</answer>"] * len(episodes)

    reward = resolve_reward("value-gain(completions=1)")
    episode = play(dataclasses.replace(engine, policy=Silent(), reward=reward), SEARCH)
    (priced,) = relabel([episode], [reward])
    assert priced.episode.measured == episode.measured == [{"value(completions=1)": 1.0}] * 2
    with pytest.raises(ValueError, match="needs a policy"):
        list(relabel([episode], ["value-gain(completions=2)"]))
