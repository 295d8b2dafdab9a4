from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.tokens import token_rows
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import Episode, Invalid, Message, Segment, Turn
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import TAGS, TOOL_CALL, TextProtocol
from igpo_gym.rewards import PRESETS
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import Search
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer
from tests.lm.tiny import CHATML, make_tokenizer

INDEX = BM25Index.build(PASSAGES)
FRAMINGS = {name: Framing(make_tokenizer(template)) for name, template in (("plain", None), ("chat", CHATML))}


def sampled(framing: Framing, text: str) -> Message:
    """A message whose ids are not those of its text: one a byte; a log-prob tells its place."""
    ids = [number for letter in text for number in framing.text_ids(letter)]
    return Message(text, tuple(ids), tuple(-0.5 * place for place in range(len(ids))), framing.vocabulary)


@pytest.mark.parametrize("protocol", [TAGS, TOOL_CALL])
@pytest.mark.parametrize("name", FRAMINGS)
@given(kinds=st.lists(st.sampled_from(["sampled", "text", "foreign"]), min_size=1, max_size=4))
def test_the_row_is_what_the_policy_read_and_wrote(
    name: str, protocol: TextProtocol, kinds: list[str]
) -> None:
    framing = FRAMINGS[name]
    engine = Engine(protocol, (Search(INDEX, 1),), PRESETS["igpo"], MentionScorer(), Rules(4))
    (episode,) = engine.begin(QUESTIONS[:1])
    engine.start([episode])
    read, wrote = [], []
    for number, kind in enumerate(kinds, 1):
        text = "<answer>x</answer>" if number == len(kinds) == 2 else f"no action {number}"
        message = sampled(framing, text)
        if kind == "foreign":
            message = Message(text, (10**6,), (0.0,), "another vocabulary")
        read.append(framing.ids(episode.segments))
        wrote.append(message.ids if kind == "sampled" else framing.text_ids(text))
        engine.settle(engine.play([episode], [text if kind == "text" else message]))
    row = token_rows(episode, framing)
    assert row.ids.shape == row.log_probs.shape == row.turn.shape == row.mask.shape
    for number, (before, own, kind) in enumerate(zip(read, wrote, kinds, strict=True), 1):
        place = slice(len(before), len(before) + len(own))
        assert tuple(row.ids[: place.stop]) == before + own
        assert set(row.turn[place]) == {number}
        known = -0.5 * np.arange(len(own)) if kind == "sampled" else np.full(len(own), np.nan)
        np.testing.assert_allclose(row.log_probs[place], known)
    assert row.mask.sum() == sum(map(len, wrote))
    assert np.isnan(row.log_probs[~row.mask]).all()


@pytest.mark.parametrize("agents", [0, 1, 2])
def test_a_turn_has_its_own_tokens_however_many_messages_stand_before_it(agents: int) -> None:
    """Of a record that another program wrote: examples in the prompt, a turn of no message or of two."""
    framing = FRAMINGS["chat"]
    said = [Segment("agent", "assistant", f"said {number}") for number in range(agents)]
    reply = Segment("environment", "user", "reply")
    prompt = (reply, Segment("agent", "assistant", "an example"), reply)
    episode = Episode(QUESTIONS[0], prompt)
    episode.append(Turn("first", Invalid("none"), (*said, reply)))
    last = Segment("agent", "assistant", "the last")
    episode.append(Turn(last.text, Invalid("none"), (last,)))
    row = token_rows(episode, framing)
    own = [row.ids[row.turn == number].tolist() for number in (1, 2)]
    assert own == [[i for each in said for i in framing.text_ids(each.text)], [*framing.text_ids("the last")]]
    assert set(row.turn) == {0, *([1] if agents else []), 2}


def test_a_message_of_unlike_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="2 ids has 1 log-prob"):
        Message("ab", (1, 2), (-0.1,))


def test_an_empty_message_is_a_turn_without_tokens(engine: Engine) -> None:
    framing = FRAMINGS["plain"]
    (episode,) = engine.begin(QUESTIONS[:1])
    engine.start([episode])
    for text in ("", "<answer>x</answer>"):
        engine.settle(engine.play([episode], [sampled(framing, text)]))
    assert set(token_rows(episode, framing).turn) == {0, 2}
    assert episode.segments[-1] == Segment(
        "agent",
        "assistant",
        "<answer>x</answer>",
        *(getattr(sampled(framing, "<answer>x</answer>"), name) for name in ("ids", "log_probs")),
        framing.vocabulary,
    )
