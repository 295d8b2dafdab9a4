"""Texts of any kind: every property that the tests state, on far more examples, and whole episodes."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.protocols import TextProtocol
from igpo_gym.rewards import PRESETS, split
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import Open, Search
from tests.conftest import PASSAGES, QUESTIONS, REPOSITORY, MentionScorer
from tests.protocols.test_protocols import EVERY, messages

pytestmark = pytest.mark.campaign

Rounds = Callable[[], Iterator[random.Random]]


def properties() -> list[Any]:
    """All property tests of the suite that need no fixture."""
    found = []
    for file in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        if "campaign" in file.parts or "from hypothesis" not in file.read_text("utf-8"):
            continue
        name = ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
        with contextlib.suppress(pytest.skip.Exception):  # where a library is missing
            module = importlib.import_module(name)
            found += [
                test
                for test in vars(module).values()
                if getattr(test, "is_hypothesis_test", False)
                and test.__module__ == name
                and not inspect.signature(test).parameters
            ]
    return found


def test_every_property_holds_for_more_examples(rounds: Rounds) -> None:
    tests = properties()
    assert len(tests) > 50
    for draw in rounds():
        test = draw.choice(tests)
        print(f"{test.__module__}.{test.__name__}")
        hypothesis.seed(draw.getrandbits(32))(test)()


INDEX = BM25Index.build(PASSAGES)


@hypothesis.given(
    st.sampled_from(EVERY), st.sampled_from(QUESTIONS), st.lists(messages, min_size=4, max_size=4), st.data()
)
def play(protocol: TextProtocol, question: Any, said: list[str], data: Any) -> None:
    """An episode of any messages ends, pays numbers, and is recorded whole; what was there stays there."""
    tools = (Search(INDEX, 2), Open(INDEX))[: len(protocol.tools)]
    reward = PRESETS[data.draw(st.sampled_from(["igpo", "outcome-f1"]))]
    engine = Engine(protocol, tools, reward, MentionScorer(), Rules(len(said)))
    (episode,) = engine.begin([question])
    engine.start([episode])
    for message in said:
        before = episode.segments
        (paid,) = engine.settle(engine.play([episode], [message]))
        assert math.isfinite(paid)
        assert episode.segments[: len(before)] == before
        if episode.end is not None:
            break
    assert episode.end is not None
    divided = split(episode, reward)
    assert math.isfinite(divided.outcome + sum(divided.gains))
    record = json.loads(json.dumps(to_record(episode, reward)))
    assert from_record(json.loads(json.dumps(record))) == from_record(record)
    assert from_record(record).turns == episode.turns


def test_any_messages_make_an_episode(rounds: Rounds) -> None:
    for draw in rounds():
        hypothesis.seed(draw.getrandbits(32))(play)()
