from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.adapters.session import CHAT, TOOLS, Sessions, reply_body, shared_sessions
from igpo_gym.adapters.tokens import end_unfinished, reward_row, sampled_message, turn_rewards
from igpo_gym.agents.rollouts.tokens import TokenRow
from igpo_gym.episode import Search
from igpo_gym.errors import MissingExtraError
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import TAGS, TextProtocol
from igpo_gym.scorers.batching import BatchingScorer
from tests.adapters.episodes import QUESTION, settings
from tests.conftest import MentionScorer
from tests.lm.tiny import CHATML, make_tokenizer

TOKENIZER = make_tokenizer(CHATML)
FRAMING = Framing(TOKENIZER)


@pytest.mark.parametrize("tail", ["", " and more", "</answer>", "<search>again</search>"])
@pytest.mark.parametrize("body", ["the novel by <x> and Grass", "ü", ""])
def test_a_message_ends_behind_its_first_closing_tag(body: str, tail: str) -> None:
    message = f"<think>hm</think><search>{body}</search>"
    ids = FRAMING.text_ids(message + tail)
    sampled = sampled_message(TOKENIZER, FRAMING, TAGS, ids, [-0.5] * len(ids))
    assert sampled.text == message
    assert sampled.ids == ids[: len(sampled.ids)]
    assert message in TOKENIZER.decode(sampled.ids)
    assert message not in TOKENIZER.decode(sampled.ids[:-1])
    assert sampled.log_probs == (-0.5,) * len(sampled.ids)
    assert sampled.vocabulary == FRAMING.vocabulary


def test_a_message_without_an_action_ends_with_its_turn() -> None:
    (end, *_) = FRAMING.end_ids
    ids = FRAMING.text_ids("I do not know.")
    sampled = sampled_message(TOKENIZER, FRAMING, TAGS, [*ids, end, *FRAMING.text_ids("<answer>x</answer>")])
    assert (sampled.text, sampled.ids) == ("I do not know.", ids)
    assert np.isnan(sampled.log_probs).all()


def test_no_message_is_an_empty_one() -> None:
    (end, *_) = FRAMING.end_ids
    assert sampled_message(TOKENIZER, FRAMING, TAGS, [end]).text == ""


turn_numbers = st.lists(st.integers(0, 4), min_size=1, max_size=30).map(
    lambda steps: np.array([number if number else 0 for number in sorted(steps)])
)


@given(turn_numbers, st.lists(st.floats(-2, 2), min_size=4, max_size=6), st.integers(1, 30))
def test_no_reward_is_lost(turn: np.ndarray, rewards: list[float], room: int) -> None:
    row = TokenRow(np.zeros(len(turn), np.int64), np.zeros(len(turn), np.float32), turn)
    placed = reward_row(row, rewards, slice(0, room))
    assert len(placed) == min(room, len(turn))
    assert placed.sum() == pytest.approx(sum(rewards), abs=1e-4)


def test_a_reward_lies_on_the_last_token_of_its_turn() -> None:
    turn = np.array([0, 1, 1, 0, 0, 2, 0, 3, 3, 3])
    row = TokenRow(np.zeros(10, np.int64), np.zeros(10, np.float32), turn)
    assert reward_row(row, [1, 2, 3], slice(0, 10)).tolist() == [0, 0, 1, 0, 0, 2, 0, 0, 0, 3]
    assert reward_row(row, [1, 2, 3, 4], slice(1, 7)).tolist() == [0, 1, 0, 0, 9, 0]
    assert reward_row(row, [1, 2, 3], slice(5, 10)).tolist() == [3, 0, 0, 0, 3]


def test_an_episode_without_room_ends_as_one_without_turns() -> None:
    sessions = Sessions(**settings(CHAT))
    env = sessions()
    env.reset(options={"question_id": QUESTION})
    env.step(CHAT.write(Search(("Grass",))))
    assert env.episode is not None
    end_unfinished(env.engine, [env.episode])
    assert env.episode.truncated
    assert turn_rewards(env.episode)[1:] == [-2.0]
    end_unfinished(env.engine, [env.episode])
    assert len(env.episode.turns) == 2


@pytest.mark.parametrize("protocol", [TAGS, CHAT, TOOLS])
def test_a_reply_without_its_tags(protocol: TextProtocol) -> None:
    assert reply_body(protocol, protocol.reply("Doc 1(Title: x) y\nz").text) == "Doc 1(Title: x) y\nz"
    assert reply_body(protocol, "") == ""


def test_sessions_share_what_is_expensive_and_nothing_else() -> None:
    sessions = Sessions(**settings(CHAT))
    one, other = sessions(), sessions()
    assert isinstance(one.engine.scorer, BatchingScorer)
    assert one.engine is other.engine
    assert one.engine.reference is None
    scorer = MentionScorer()
    frozen = Sessions(**settings(CHAT, reward="tips", scorer=scorer, reference=scorer)).engine
    assert frozen.reference is frozen.scorer
    one.reset(seed=1)
    assert other.episode is None
    assert other.reset(seed=1)[0] == one.reset(seed=1)[0]
    world = {"questions": "world#documents=60,questions=10", "scorer": None, "reward": "f1"}
    assert shared_sessions(**world) is shared_sessions(**world)
    with pytest.raises(TypeError, match="unhashable"):
        shared_sessions(questions=[])


@pytest.mark.parametrize("library", ["aviary", "gem", "openenv", "skyrl", "trl", "verifiers", "verl"])
def test_a_missing_library_names_its_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    roots = {"skyrl": "skyrl_gym"}
    name = f"igpo_gym.adapters.{library}"
    for module in [each for each in sys.modules if each.split(".")[0] == roots.get(library, library)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, roots.get(library, library), None)
    with pytest.raises(MissingExtraError, match=rf"igpo-gym\[{library}\]"):
        importlib.import_module(name)
