"""Beliefs that are asked for once an episode has ended are those that are asked for step by step."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.envs.engine import Engine, When
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import Belief, EndReason, Episode, Question
from igpo_gym.errors import ScoringError, TranscriptTooLongError
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import resolve_reward, split
from igpo_gym.rewards.relabel import relabel
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import Search
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer

MESSAGES = (
    "<search>Tin Drum novel</search>",
    "<search>Günter Grass writer</search>",
    "<think>Danzig?</think><search>Danzig</search>",
    "no tags",
    "<answer>Danzig</answer>",
    "<answer>no</answer>",
)
REWARD = resolve_reward("ig-search(samples=2) + tips(form=paper) + watermark + value-gain(completions=2)")
ENDS = (None, EndReason.CONTEXT_EXHAUSTED, EndReason.TURNS_EXHAUSTED, EndReason.ABORTED)


class Half:
    """Answers "Danzig" at every second attempt."""

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        return [f"<answer>{'Danzig' if episode.attempt % 2 else 'no'}</answer>" for episode in episodes]


def whole_engine(index: BM25Index, scorer: MentionScorer, reference: MentionScorer) -> Engine:
    return Engine(
        *(TAGS, (Search(index, 2),), REWARD, scorer, Rules(3), reference),
        corpus=PASSAGES,
        policy=Half(),
    )


def play(engine: Engine, plans: Sequence[tuple[list[str], EndReason | None]]) -> list[Episode]:
    """Play each plan's messages on the next question; what has not ended then ends for the plan's reason."""
    episodes = engine.begin([QUESTIONS[place % 2] for place in range(len(plans))])
    engine.start(episodes)
    for turn in range(3):
        due = [
            (episode, messages[turn])
            for episode, (messages, _) in zip(episodes, plans, strict=True)
            if turn < len(messages) and not episode.done
        ]
        engine.settle(engine.play([each for each, _ in due], [message for _, message in due]))
    for episode, (_, end) in zip(episodes, plans, strict=True):
        if not episode.done:
            engine.end(episode, end or EndReason.ABORTED)
    return episodes


plans = st.lists(
    st.tuples(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=3), st.sampled_from(ENDS)),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40)
@given(plans)
def test_the_numbers_are_those_of_the_steps(plans: list[tuple[list[str], EndReason | None]]) -> None:
    index = BM25Index.build(PASSAGES)
    by_step = whole_engine(index, MentionScorer(), MentionScorer())
    at_end = dataclasses.replace(by_step, measure="end")
    expected, episodes = play(by_step, plans), play(at_end, plans)
    assert not any(episode.beliefs or episode.rewards for episode in episodes)
    earned = at_end.price(episodes)
    for episode, other in zip(episodes, expected, strict=True):
        assert episode.rewards == other.rewards
        assert (episode.beliefs, episode.views) == (other.beliefs, other.views)
        assert (len(episode.measured), episode.turns) == (len(other.measured), other.turns)
        assert split(episode, REWARD) == split(other, REWARD)
    assert earned == [other.total_reward for other in expected]


def test_each_model_is_asked_once_for_all_episodes(index: BM25Index) -> None:
    scorer, reference = MentionScorer(), MentionScorer()
    engine = dataclasses.replace(whole_engine(index, scorer, reference), measure="end")
    episodes = play(engine, [([MESSAGES[0], MESSAGES[4]], None), ([MESSAGES[3]] * 3, None)])
    assert (scorer.calls, reference.calls) == ([], [])
    engine.price(episodes)
    # Two and four states, and two draws for the turn that found passages.
    assert (scorer.calls, reference.calls) == ([6 + 2], [6])


def test_a_rollout_prices_what_has_ended(engine: Engine) -> None:
    at_end = dataclasses.replace(engine, measure="end")
    expected = list(collect(engine, Half(), QUESTIONS[:2], group_size=2))
    episodes = list(collect(at_end, Half(), QUESTIONS[:2], group_size=2))
    assert [episode.rewards for episode in episodes] == [episode.rewards for episode in expected]
    assert all(episode.rewards for episode in episodes)


def test_a_scorer_that_fails_leaves_the_episodes_unpriced(engine: Engine) -> None:
    class Down(MentionScorer):
        def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
            raise ScoringError("down")

    broken = dataclasses.replace(engine, scorer=Down(), measure="end")
    episodes = play(broken, [([MESSAGES[4]], None)])
    with pytest.raises(ScoringError, match="down"):
        broken.price(episodes)
    assert (episodes[0].beliefs, episodes[0].rewards, episodes[0].end) == ([], [], EndReason.ANSWERED)
    mended = dataclasses.replace(engine, measure="end")
    assert mended.price(episodes) == [0.0]  # a wrong answer
    with pytest.raises(ValueError, match="is priced already"):
        mended.price(episodes)


def test_what_runs_is_not_priced(engine: Engine) -> None:
    at_end = dataclasses.replace(engine, measure="end")
    with pytest.raises(ValueError, match="has not ended"):
        at_end.price(at_end.begin(QUESTIONS[:1]))
    with pytest.raises(ValueError, match="measure is 'step' or 'end'"):
        dataclasses.replace(engine, measure="later")  # type: ignore[arg-type]


class Short(MentionScorer):
    """Reads no prompt about a city."""

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        unread = tuple(i for i, each in enumerate(requests) if "city" in each.segments[0].text)
        if unread:
            raise TranscriptTooLongError("too long", unread)
        return super().score(requests)


class OfOneView(MentionScorer):
    """Reads the whole transcript of a thoughtful agent, or what is left of it without the thoughts."""

    def __init__(self, thoughts: bool) -> None:
        super().__init__()
        self.thoughts = thoughts

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        told = [
            "".join(segment.text for segment in each.segments if segment.author == "agent")
            for each in requests
        ]
        unread = tuple(i for i, text in enumerate(told) if text and ("<think>" in text) != self.thoughts)
        if unread:
            raise TranscriptTooLongError("too long", unread)
        return super().score(requests)


@pytest.mark.parametrize("thoughts", [True, False])
def test_a_view_that_cannot_be_read_takes_no_gain_from_another(engine: Engine, thoughts: bool) -> None:
    plan = [(["<think>Grass?</think><search>Tin Drum novel</search>", MESSAGES[1], MESSAGES[4]], None)]
    gains = {}
    for scorer in (MentionScorer(), OfOneView(thoughts)):
        for spec in ("gain + f1", "gain(context=evidence) + f1", "gain + gain(context=evidence)"):
            reward = resolve_reward(spec)
            at_end = dataclasses.replace(engine, measure="end", scorer=scorer, reward=reward)
            (episode,) = play(at_end, plan)
            at_end.price([episode])
            gains[type(scorer), spec] = split(episode, reward).gains
            recorded = from_record(json.loads(json.dumps(to_record(episode, reward))))
            (priced,) = relabel([recorded], [reward], "none")
            again = dataclasses.replace(priced.episode, rewards=priced.rewards[spec])
            assert split(again, reward).gains == gains[type(scorer), spec]
    read, unread = ("gain + f1", "gain(context=evidence) + f1")[:: 1 if thoughts else -1]
    assert 0.0 not in gains[MentionScorer, read]
    assert (
        gains[OfOneView, read]
        == gains[OfOneView, "gain + gain(context=evidence)"]
        == gains[MentionScorer, read]
    )
    assert gains[OfOneView, unread] == (None, None)


def test_a_prompt_that_cannot_be_read_ends_its_own_episode_alone(
    index: BM25Index, caplog: pytest.LogCaptureFixture
) -> None:
    questions = [Question("c", "Which city?", ("Danzig",)), *QUESTIONS[:2]]
    engine = Engine(TAGS, (Search(index, 2),), resolve_reward("igpo"), Short(), Rules(2))
    played = {}
    for measure in get_args(When):
        engine = dataclasses.replace(engine, measure=measure)
        played[measure] = {each.question.id: each for each in collect(engine, Half(), questions)}
        assert [each.end for each in played[measure].values()].count(EndReason.ABORTED) == 1
        assert not any(played[measure]["c"].rewards)
        assert "question 'c' is left out" in caplog.text
        caplog.clear()
    for question in QUESTIONS[:2]:
        assert played["step"][question.id] == played["end"][question.id]
    assert split(played["end"]["c"], engine.reward).outcome is None


def test_what_is_longer_than_the_scorer_reads_has_no_gain(engine: Engine) -> None:
    """Measured when it has ended, an episode may go on behind what the scorer reads."""

    class Narrow(MentionScorer):
        def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
            lengths = [len(request.segments) for request in requests]
            if too_long := tuple(place for place, length in enumerate(lengths) if length > 3):
                raise TranscriptTooLongError("too long", too_long)
            return super().score(requests)

    at_end = dataclasses.replace(engine, measure="end", scorer=Narrow())
    (episode,) = play(at_end, [([MESSAGES[0], MESSAGES[0], MESSAGES[4]], None)])
    at_end.price([episode])
    assert episode.end is EndReason.ANSWERED
    assert episode.extra["unread"] == [2]
    first, second = split(episode, at_end.reward).gains
    assert (first is None, second) == (False, None)


UNREADABLE = ("f1 - 0.1*search-cost", "potential", "tips", "igpo - 0.01*search-cost", "ig-search(samples=2)")


@settings(max_examples=60)
@given(plans, st.sampled_from(UNREADABLE), st.integers(0, 400), st.sampled_from(get_args(When)))
def test_all_that_is_paid_is_divided_though_the_scorer_reads_no_further(
    plans: list[tuple[list[str], EndReason | None]], name: str, room: int, measure: When
) -> None:
    """What does not rest on a belief that nobody had reaches the trainer, whatever the scorer could read."""
    longest = max(len(TAGS.prompt(question)[0].text) for question in QUESTIONS) + room
    engine = dataclasses.replace(
        whole_engine(BM25Index.build(PASSAGES), MentionScorer(longest), MentionScorer(longest)),
        reward=resolve_reward(name),
        measure=measure,
    )
    for plan in plans:
        (episode,) = play(engine, [plan])
        if measure == "end":
            engine.price([episode])
        divided = split(episode, engine.reward)
        if episode.end is not EndReason.ABORTED:
            assert divided.outcome is not None
            total = sum(gain or 0.0 for gain in divided.gains) + divided.outcome
            assert total == pytest.approx(episode.total_reward)
