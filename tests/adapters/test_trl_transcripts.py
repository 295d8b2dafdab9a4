"""Whatever a conversation is like, its turns are its tokens."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("trl", minversion="1.16", reason="TRL is not installed, or older")

from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.adapters.trl import Environments
from igpo_gym.adapters.trl.transcripts import Conversation, Verbatim, exchanges, moves, with_prompt_ids
from igpo_gym.envs.engine import Move
from igpo_gym.episode import (
    Answer,
    EndReason,
    Episode,
    Question,
    Segment,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.protocols import NATIVE, AnswerProbe
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.prompts import query_of
from tests.adapters.episodes import settings
from tests.lm.test_templates import CLOSED, OPENED
from tests.lm.tiny import CHATML, make_tokenizer

FRAMING = Verbatim(make_tokenizer(CHATML))
ENGINE = Environments(**settings(NATIVE)).engine
PROMPT = (Segment("environment", "system", "Search."), Segment("environment", "user", "Where?"))
IDS = st.lists(st.integers(4, 399), min_size=1, max_size=5)
CALLS = st.lists(st.sampled_from(["search", "answer", "browse"]), max_size=3)


def played(tool: str) -> Move:
    if tool == "answer":
        return Move(episode(), Turn("", Answer("Danzig")), EndReason.ANSWERED)
    call = ToolCalls((ToolCall(tool, {"query": "Danzig"}),))
    return Move(episode(), Turn("", call, results=(ToolResult("found"),)), None)


def episode() -> Episode:
    return Episode(Question("q", "Where?", ("Danzig",)), PROMPT)


@given(IDS, st.lists(st.tuples(IDS, CALLS, IDS), min_size=1, max_size=4), IDS, st.booleans())
def test_the_turns_of_a_conversation_are_its_tokens(
    prompt: list[int], said: list[tuple[list[int], list[str], list[int]]], last: list[int], runs_out: bool
) -> None:
    """``said``: the tokens of each message, the tools that it calls, and the tokens of their replies. The
    last message calls nothing, or is one whose calls are not run."""
    ids, mask, messages, plays = list[int](), list[int](), list[dict[str, Any]](), list[Move]()
    open_ = True
    for own, names, reply in said:
        if not names:
            break
        calls = [{"function": {"name": name, "arguments": {"query": "x"}}} for name in names]
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        messages += [{"role": "tool", "content": f"of {name}"} for name in names]
        ids += own + reply
        mask += [1] * len(own) + [0] * len(reply)
        for name in names:
            if name != "browse" and open_:
                plays.append(played(name))
                open_ = name != "answer"
    messages.append({"role": "assistant", "content": "Bye."})
    if runs_out:
        messages[-1]["tool_calls"] = [{"function": {"name": "search", "arguments": {}}}]
    ids += last
    mask += [1] * len(last)

    talk = Conversation(prompt, ids, mask, messages)
    own_episode = Episode(Question("q", "Where?", ("Danzig",)), with_prompt_ids(PROMPT, prompt, FRAMING))
    made, kept = moves(own_episode, talk, plays, ("search", "answer"), ENGINE, FRAMING, "3")
    for move in made:
        own_episode.append(move.turn, move.end)

    assert FRAMING.ids(own_episode.segments) == tuple(prompt + ids[:kept])
    assert own_episode.done
    assert [len(turn.results) for turn in own_episode.turns] == [
        len(turn.action.calls) if isinstance(turn.action, ToolCalls) else 0 for turn in own_episode.turns
    ]
    answered = any(isinstance(move.turn.action, Answer) for move in plays)
    assert (own_episode.end is EndReason.ANSWERED) == answered
    assert len(own_episode.turns) == 1 + sum(mask[n] and not mask[n - 1] for n in range(1, kept))


def test_messages_that_the_mask_does_not_know_are_an_error() -> None:
    said = {"role": "assistant", "content": "Danzig."}
    with pytest.raises(ValueError, match="2 messages has 1 stretches"):
        exchanges(Conversation([5], [6, 7], [1, 1], [said, said]))


def test_a_transcript_of_which_a_piece_has_no_ids_is_framed_as_ever() -> None:
    prompt = with_prompt_ids(PROMPT, [5, 6, 7], FRAMING)
    thought = Segment("agent", "assistant", "Where is Danzig?")
    assert FRAMING.ids(prompt) == (5, 6, 7)
    assert FRAMING.ids((*prompt, thought)) == FRAMING.ids((*PROMPT, thought))


SWITCHED = CLOSED.replace("<think>", "{% if not enable_thinking %}<think>").replace(
    "</think>\n\n", "</think>\n\n{% endif %}"
)
"""As Qwen3: the template itself opens no thought, the settings that TRL renders with a closed one."""
THOUGHTFUL = "<think>\nNow there's enough information to answer\n</think>\n<answer>\nParis"


@pytest.mark.parametrize(
    ("template", "thinking", "probe", "expected"),
    [
        (CHATML, True, NATIVE.probe, THOUGHTFUL),
        (OPENED, True, NATIVE.probe, THOUGHTFUL),
        (CLOSED, True, NATIVE.probe, THOUGHTFUL),
        (SWITCHED, True, NATIVE.probe, THOUGHTFUL),
        (SWITCHED, False, NATIVE.probe, THOUGHTFUL),
        (
            OPENED,
            True,
            AnswerProbe("I see.\n</think>\nIt is\n", "."),
            "<think>\nI see.\n</think>\nIt is\nParis",
        ),
        (OPENED, True, AnswerProbe("It is\n", "."), "It is\nParis"),
        (SWITCHED, False, AnswerProbe("It is\n", "."), "<think>\n\n</think>\n\nIt is\nParis"),
    ],
)
def test_the_belief_is_asked_behind_at_most_one_thought(
    template: str, thinking: bool, probe: AnswerProbe, expected: str
) -> None:
    """Where TRL's own rendering of the prompt and of a tool's reply ends in a thought of the template's."""
    made = make_tokenizer(template, bos=False)
    framing = Verbatim(made)

    def shown(role: str, text: str) -> tuple[int, ...]:
        message = [{"role": role, "content": text}]
        rendered = made.apply_chat_template(
            message, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
        )
        return tuple(made(rendered)["input_ids"])

    prompt = with_prompt_ids(PROMPT, shown("user", "Where?"), framing)
    said = framing.text_ids("hm</think>Odra")
    found = shown("tool", "found")
    later = (
        *prompt,
        Segment("agent", "assistant", "hm</think>Odra", said, vocabulary=framing.vocabulary),
        Segment("environment", "tool", "found", found, vocabulary=framing.written),
    )
    for segments, text in ((prompt, "Where?"), (later, "found")):
        query = query_of(framing, BeliefRequest(segments, ("Paris",), probe))
        assert framing.text(query.prompts[0].ids).endswith(
            f"{text}<|im_end|>\n<|im_start|>assistant\n{expected}"
        )
    assert framing.ids(later) == (*framing.ids(prompt), *said, *found)
