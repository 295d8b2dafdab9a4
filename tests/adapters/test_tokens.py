from __future__ import annotations

import numpy as np
import pytest

from igpo_gym.adapters.session import Sessions, shared_sessions
from igpo_gym.adapters.tokens import end_unfinished, turn_advantages
from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.episode import EndReason
from igpo_gym.errors import MissingExtraError, SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import CHAT, NATIVE, TAGS, TextProtocol
from igpo_gym.rewards import Split, split
from igpo_gym.scorers.batching import BatchingScorer
from igpo_gym.tools import search_call
from tests.adapters.episodes import INDEX, QUESTION, settings
from tests.conftest import QUESTIONS, MentionScorer
from tests.lm.tiny import CHATML, make_tokenizer

TOKENIZER = make_tokenizer(CHATML)
FRAMING = Framing(TOKENIZER)


@pytest.mark.parametrize("tail", ["", " and more", "</answer>", "<search>again</search>"])
@pytest.mark.parametrize("body", ["the novel by <x> and Grass", "ü", ""])
def test_a_message_ends_behind_its_first_closing_tag(body: str, tail: str) -> None:
    message = f"<think>hm</think><search>{body}</search>"
    ids = FRAMING.text_ids(message + tail)
    sampled = sampled_message(FRAMING, TAGS, ids, [-0.5] * len(ids))
    assert sampled.text == message
    assert sampled.ids == ids[: len(sampled.ids)]
    assert message in TOKENIZER.decode(sampled.ids)
    assert message not in TOKENIZER.decode(sampled.ids[:-1])
    assert sampled.log_probs == (-0.5,) * len(sampled.ids)
    assert sampled.vocabulary == FRAMING.vocabulary


def test_a_message_without_an_action_ends_with_its_turn() -> None:
    (end, *_) = FRAMING.end_ids
    ids = FRAMING.text_ids("I do not know.")
    sampled = sampled_message(FRAMING, TAGS, [*ids, end, *FRAMING.text_ids("<answer>x</answer>")])
    assert (sampled.text, sampled.ids) == ("I do not know.", (*ids, end))
    assert np.isnan(sampled.log_probs).all()


def test_no_message_is_an_empty_one() -> None:
    (end, *_) = FRAMING.end_ids
    assert sampled_message(FRAMING, TAGS, [end]).text == ""


def test_an_episode_without_room_ends_with_its_last_turn() -> None:
    sessions = Sessions(**settings(CHAT))
    env = sessions()
    env.reset(options={"question_id": QUESTION})
    env.step(CHAT.write(search_call("Grass")))
    assert env.episode is not None
    end_unfinished(env.engine, [env.episode])
    # The turn that was played last becomes the last one, and its gain is taken back.
    assert env.episode.end is EndReason.CONTEXT_EXHAUSTED
    assert env.episode.turn_rewards == [-2.0]
    made = split(env.episode, env.engine.reward)
    assert (made.gains, made.outcome) == ((), -2.0)
    end_unfinished(env.engine, [env.episode])
    assert len(env.episode.turns) == 1


def test_an_episode_without_a_turn_has_no_outcome() -> None:
    env = Sessions(**settings(CHAT))()
    env.reset(options={"question_id": QUESTION})
    assert env.episode is not None
    end_unfinished(env.engine, [env.episode])
    assert env.episode.end is EndReason.ABORTED
    assert split(env.episode, env.engine.reward).outcome is None


def test_a_control_draws_anew_for_each_batch() -> None:
    splits = [Split((0.0, 0.0), 1.0)] * 2
    with pytest.raises(SpecError, match="noise draws at random: give seed="):
        turn_advantages(splits, ["q", "q"], "noise")
    first, again, other = (
        np.concatenate(turn_advantages(splits, ["q", "q"], "noise", seed=(0, batch))) for batch in (1, 1, 2)
    )
    assert (first == again).all()
    assert not np.isclose(first[:2], other[:2]).any()


@pytest.mark.parametrize("protocol", [TAGS, CHAT, NATIVE])
def test_a_reply_without_its_tags(protocol: TextProtocol) -> None:
    assert protocol.body(protocol.reply_text("Doc 1(Title: x) y\nz")) == "Doc 1(Title: x) y\nz"
    assert protocol.body("") == ""


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
    listed = {**world, "questions": list(QUESTIONS), "search": INDEX}
    assert shared_sessions(**listed) is shared_sessions(**listed, max_turns=6)  # which is the default
    assert shared_sessions(**listed) is not shared_sessions(**listed, max_turns=5)
    with pytest.raises(TypeError, match="unknown environment argument 'top'"):
        shared_sessions(**world, top=3)


LIBRARIES = (
    ("atropos", "atroposlib"),
    ("aviary", "aviary"),
    ("gem", "gem"),
    ("nemo", "nemo_gym"),
    ("openenv", "openenv"),
    ("skyrl", "skyrl_gym"),
    ("swift", "swift"),
    ("tinker", "tinker_cookbook"),
    ("trl", "trl"),
    ("verifiers", "verifiers"),
    ("verl", "verl"),
)


@pytest.mark.parametrize(("library", "root"), LIBRARIES)
def test_a_missing_library_names_its_extra(library: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    name = f"igpo_gym.adapters.{library}"
    for module in [each for each in sys.modules if each.split(".")[0] == root]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, root, None)
    with pytest.raises(MissingExtraError, match=rf"igpo-gym\[{library}\]"):
        importlib.import_module(name)
