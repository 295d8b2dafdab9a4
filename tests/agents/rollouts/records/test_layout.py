from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.records import from_record, read_rollouts, to_record
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import (
    Answer,
    Belief,
    BeliefView,
    EndReason,
    Episode,
    Invalid,
    Passage,
    Question,
    Segment,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.errors import DataError
from igpo_gym.rewards.relabel import relabel
from tests.agents.rollouts.records.played import play
from tests.conftest import play as played


def test_an_episode_is_read_back_as_it_was(engine: Engine) -> None:
    episode = play(engine)
    record = json.loads(json.dumps(to_record(episode)))
    assert from_record(record) == episode
    assert (record["em"], record["f1"], record["prediction"]) == (1.0, 1.0, "Danzig")


texts = st.text(min_size=1)

passages = st.builds(Passage, texts, texts, texts, st.floats(0, 9))

json_values = st.recursive(texts | st.booleans() | st.integers(), lambda inner: st.lists(inner, max_size=2))

calls = st.builds(ToolCall, texts, st.dictionaries(texts, json_values, max_size=2))

actions = st.lists(calls, min_size=1, max_size=2).map(tuple).map(ToolCalls) | st.builds(Invalid, texts)

segments = st.builds(
    Segment,
    st.just("agent"),
    st.just("assistant"),
    texts,
    st.none() | st.lists(st.integers(0, 9)).map(tuple),
    st.none() | st.lists(st.floats(-9, 0)).map(tuple),
    texts,
)

results = st.builds(
    ToolResult,
    st.just("") | texts,
    st.lists(st.lists(passages, max_size=2).map(tuple), max_size=2).map(tuple),
    st.booleans(),
)

turns = st.builds(
    Turn,
    texts,
    actions,
    st.lists(segments, max_size=2).map(tuple),
    st.lists(results, max_size=2).map(tuple),
    texts,
    st.integers(0, 9),
)


@given(
    st.lists(turns, max_size=3),
    st.sampled_from(EndReason),
    st.lists(segments, max_size=3),
    st.lists(st.floats(-9, 0), min_size=1),
)
def test_any_episode_is_read_back(
    played: list[Turn], end: EndReason, said: list[Segment], log_probs: list[float]
) -> None:
    question = Question("1", "Who?", ("A", "B"), ("e",), 2, "test")
    answered = [*played, Turn("m", Answer("x"))]
    belief = Belief(tuple(log_probs), tuple((log_prob,) for log_prob in log_probs))
    rewards = [{"gain": 0.5}] * len(answered)
    episode = Episode(question, tuple(said), answered, [belief], rewards, end, 2, 7)
    assert from_record(json.loads(json.dumps(to_record(episode)))) == episode


@pytest.mark.parametrize(
    ("score", "kept"), [(float("nan"), 0.0), (np.float32("inf"), 0.0), (10**400, 10**400), (None, None)]
)
def test_a_score_that_json_does_not_have_is_written_as_0(engine: Engine, score: Any, kept: Any) -> None:
    episode = played(engine, 0, "<search>Danzig</search>", "<answer>Danzig</answer>")
    (found,), *_ = (result.passages for result in episode.turns[0].results)
    result = ToolResult(passages=((dataclasses.replace(found[0], score=score),),))
    episode.turns[0] = dataclasses.replace(episode.turns[0], results=(result,))
    record = to_record(episode)
    assert record["turns"][0]["results"][0]["passages"][0][0]["score"] == kept


def test_what_other_views_and_policies_told_is_read_back(engine: Engine) -> None:
    episode = play(engine)
    views = (BeliefView("evidence"), BeliefView(span="tagged", model="reference"), BeliefView(draw=3))
    episode.views = [{view: Belief((-1.0 - turn, -2.0)) for view in views} for turn in range(3)]
    for turn in range(3):
        episode.note({"value(completions=8)": 0.25 * turn, "judge": {"helps": True}}, {"judge": "gpt/2"})
    assert from_record(json.loads(json.dumps(to_record(episode)))) == episode


WRONG = (None, True, -1.5, "x", [[1]], {"a": 1}, float("nan"), 10**400)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places in a JSON value; of a list its first items alone."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    for name, inner in items:
        yield (*path, name)
        yield from _paths(inner, (*path, name))


def test_whatever_stands_in_a_field_what_is_read_can_be_computed_with(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    good = json.loads(json.dumps(to_record(play(engine), engine.reward)))
    refused = 0
    for place in _paths(good):
        for wrong in WRONG:
            record = copy.deepcopy(good)
            holder = record
            for name in place[:-1]:
                holder = holder[name]
            holder[place[-1]] = wrong
            path.write_text(json.dumps(record) + "\n")
            try:
                (episode,) = read_rollouts(path)
            except DataError:
                refused += 1
                continue
            to_record(episode), episode.messages(), [belief.prob for belief in episode.beliefs]
            with contextlib.suppress(ValueError):  # such as beliefs that are not as many as the turns
                list(relabel([episode], ["igpo"]))
    assert refused > 100


@pytest.mark.parametrize("field", ["settings", "measured", "notes"])
def test_a_record_that_is_too_deep_to_be_written_again_is_told(
    engine: Engine, tmp_path: Path, field: str
) -> None:
    path = tmp_path / "rollouts.jsonl"
    for depth, fits in ((60, True), (150, False), (900, False)):
        value = json.loads('{"a":' * depth + "1" + "}" * depth)
        record = {**to_record(play(engine)), field: [value] * 3 if field == "measured" else value}
        path.write_text(json.dumps(record) + "\n")
        if fits:
            assert from_record(json.loads(json.dumps(to_record(next(read_rollouts(path))))))
            continue
        with pytest.raises(DataError, match="line 1: not a recorded episode"):
            list(read_rollouts(path))
