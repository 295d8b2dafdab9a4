from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from igpo_gym.agents.policies import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.transcripts.interface import About
from igpo_gym.agents.rollouts.transcripts.messages import dialogue
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Belief
from igpo_gym.rewards.pricing import information_gain, information_gains
from igpo_gym.scorers.interface import BeliefRequest
from tests.conftest import MentionScorer, p

USER = {"role": "user", "content": "Who is it?"}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_each_message_of_the_agent_has_the_change_that_followed_it() -> None:
    told = [
        {"role": "system", "content": "Ask."},
        USER,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "search", "arguments": "Ada"}}],
        },
        {"role": "tool", "content": [{"type": "text", "text": "Ada. Ada."}]},
        {"role": "user", "content": "And?"},
        said("Hm."),
        {"role": "user", "content": "No."},
        said("Ada"),
    ]
    # The call mentions the name once, its result twice; the last message is not answered.
    assert information_gain(told, "Ada", MentionScorer()) == pytest.approx([p(3) - p(0), 0.0, 0.0])


def test_a_turn_behind_what_the_scorer_reads_is_not_a_number() -> None:
    told = [USER, said("Hm."), {"role": "user", "content": "Ada."}, said("x" * 80), USER, said("So."), USER]
    gains = information_gain(told, "Ada", MentionScorer(longest=60))
    assert gains[0] == pytest.approx(p(1) - p(0))
    assert np.isnan(gains[1:]).tolist() == [True, True]
    # A potential is closed in a state that nobody read; of the turn before it nothing is known.
    shaped = information_gain(told, "Ada", MentionScorer(longest=60), reward="shaping")
    assert shaped[::2] == pytest.approx([p(1) - p(0), -p(1)])
    assert np.isnan(shaped[1])


@pytest.mark.parametrize(
    ("message", "as_text"),
    [
        (
            {"tool_calls": [{"function": {"name": "search", "arguments": '{"query": "Ada"}'}}]},
            '<tool_call>\n{"name": "search", "arguments": {"query": "Ada"}}\n</tool_call>',
        ),
        ({"content": "Ada.", "reasoning_content": "Who?"}, "<think>\nWho?\n</think>\n\nAda."),
        ({"content": ({"type": "text", "text": "A"}, {"type": "text", "text": "da"})}, "Ada"),
    ],
)
def test_messages_are_read_as_those_of_transcripts(message: dict[str, Any], as_text: str) -> None:
    class Reads(MentionScorer):
        def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
            self.read = [segment.text for request in requests for segment in request.segments]
            return super().score(requests)

    scorer = Reads()
    told = [USER, {"role": "assistant", **message}, {"role": "function", "content": "Yes."}, said("Ada")]
    information_gain(told, "Ada", scorer)
    assert as_text in scorer.read
    chat = dialogue(told, About("Where?", answers=("Ada",)))
    assert chat.turns[0].message == as_text


def test_many_conversations_are_one_call() -> None:
    scorer = MentionScorer()
    gains = information_gains(
        [[USER, said("a"), {"role": "user", "content": "Ada"}], [USER, said("Ada")]],
        ["Ada", ["Bo", "Ada"]],
        scorer,
    )
    assert scorer.calls == [2 + 1]
    assert gains == [pytest.approx([p(1) - p(0)]), [0.0]]


@pytest.mark.parametrize("told", [[said("Ada")], [said("Bo"), {"role": "user", "content": "No."}]])
def test_a_potential_is_closed_where_the_conversation_ends(told: list[dict[str, Any]]) -> None:
    messages = [USER, said("Who?"), {"role": "user", "content": "Ada."}, *told]
    gains = information_gain(messages, "Ada", MentionScorer(), reward="shaping")
    assert gains == pytest.approx([p(1) - p(0), -p(1)])


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([USER], "conversation 0 needs a prompt and a message of the role 'assistant'"),
        ([said("a")], "conversation 0 needs a prompt"),
        ([USER, {"role": "robot", "content": "?"}], "message 1 of conversation 0 has the role 'robot'"),
        ([USER, {"role": "assistant", "content": 3}], "message 1 of conversation 0 has a int as its content"),
        (
            [USER, {"role": "assistant", "content": "x", "tool_calls": [3]}],
            "message 1 of conversation 0: a call of a tool is a int",
        ),
        ("Who is it?", "message 0 of conversation 0 is no object with role and content, but a str"),
    ],
)
def test_what_is_no_conversation_is_told(messages: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        information_gain(messages, "Ada", MentionScorer())


def test_a_conversation_earns_what_the_environment_paid() -> None:
    """nano has no chat template, so that a reply reads the same in a message of its own."""
    questions, engine = assemble(EnvConfig(scorer="nano", reward="gain + f1"))
    (episode,) = collect(engine, ScriptedAgent("expert", questions), questions.questions[:1])
    assert engine.scorer is not None
    messages = [{"role": "user", "content": segment.text} for segment in episode.prompt]
    for turn in episode.turns:
        own, *replies = turn.segments
        messages += [said(own.text), *({"role": "user", "content": reply.text} for reply in replies)]
    gains = information_gain(messages, episode.question.answers, engine.scorer, probe=engine.protocol.probe)
    assert gains == pytest.approx([terms["gain"] for terms in episode.rewards], abs=1e-6)
    assert sum(gains) > 0.1
