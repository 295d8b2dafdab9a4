from __future__ import annotations

from typing import Any

import pytest

from igpo_gym.agents.policies import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.rewards.pricing import information_gain, information_gains
from tests.envs.information_gain.games import Mentions, p

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
    assert information_gain(told, "Ada", Mentions()) == pytest.approx([p(3) - p(0), 0.0, 0.0])


def test_many_conversations_are_one_call() -> None:
    scorer = Mentions()
    gains = information_gains(
        [[USER, said("a"), {"role": "user", "content": "Ada"}], [USER, said("Ada")]],
        ["Ada", ["Bo", "Ada"]],
        scorer,
    )
    assert scorer.calls == [2 + 1]
    assert gains == [pytest.approx([p(1) - p(0)]), [0.0]]


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([USER], "conversation 0 needs a prompt and a message of the role 'assistant'"),
        ([said("a")], "conversation 0 needs a prompt"),
        ([USER, {"role": "robot", "content": "?"}], "message 1 of conversation 0 has the role 'robot'"),
        ([USER, {"role": "assistant", "content": 3}], "message 1 of conversation 0 has a int as its content"),
        ("Who is it?", "message 0 of conversation 0 is no object with role and content, but a str"),
    ],
)
def test_what_is_no_conversation_is_told(messages: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        information_gain(messages, "Ada", Mentions())


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
