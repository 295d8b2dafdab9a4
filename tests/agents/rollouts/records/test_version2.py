"""Records of version 2 stay readable as they were written, and docs/records.md names all that they hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.agents.rollouts.records import RolloutFile, from_record, read_rollouts, to_record
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import EndReason, Message
from igpo_gym.rewards import resolve_reward, split
from igpo_gym.rewards.relabel import relabel
from tests.agents.rollouts.records.played import play
from tests.conftest import REPOSITORY

FROZEN = Path(__file__).parent / "data" / "version2.jsonl"
RECORDS = [json.loads(line) for line in FROZEN.read_text().splitlines()]


def test_a_frozen_file_is_read_and_written_as_it_was() -> None:
    for episode, record in zip(read_rollouts(FROZEN), RECORDS, strict=True):
        again = json.loads(json.dumps(to_record(episode)))
        assert again == {name: value for name, value in record.items() if name != "settings"}
        assert from_record(again) == episode


def test_what_stands_in_it() -> None:
    first, second = read_rollouts(FROZEN)
    assert (first.end, second.end) == (EndReason.ANSWERED, EndReason.TURNS_EXHAUSTED)
    assert [list(values) for values in first.measured] == [["value(completions=2)"]] * 4
    assert [call.tool for turn in second.turns for call in getattr(turn.action, "calls", ())] == [
        "search",
        "open",
    ]
    said = second.turns[1].segments[0]
    assert (said.ids, said.log_probs, said.tokens, said.weights) == (
        (1, 2),
        (-0.25, -1.5),
        ("h", "m"),
        "step-7",
    )
    assert second.extra["note"] == "somebody's own"


@pytest.mark.parametrize("place", range(2))
def test_the_split_is_that_of_the_reward(place: int) -> None:
    record = RECORDS[place]
    divided = split(from_record(record), resolve_reward(record["settings"]["reward"]))
    assert record["split"] == {
        "gains": list(divided.gains),
        "outcome": divided.outcome,
        "last_gain": divided.last_gain,
    }


def test_it_is_priced_again_from_what_it_holds() -> None:
    for episode, record in zip(read_rollouts(FROZEN), RECORDS, strict=True):
        reward = record["settings"]["reward"]
        (priced,) = relabel([episode], [reward])
        assert priced.rewards[reward] == [pytest.approx(terms) for terms in record["rewards"]]
        assert "split" not in priced.episode.extra


def test_a_file_tells_the_split_under_the_reward_that_was_paid(engine: Engine, tmp_path: Path) -> None:
    with RolloutFile(tmp_path / "out.jsonl", {}, reward=engine.reward) as file:
        file.write(play(engine))
    (record,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    # The first turn found "Danzig" three times: in a title and two passages; the second was no action.
    assert record["split"] == {
        "gains": [pytest.approx(4 / 13 - 1 / 10), 0.0],
        "outcome": -1.0,
        "last_gain": False,
    }


def test_the_weights_of_a_message_are_told_where_known(engine: Engine) -> None:
    (episode,) = engine.begin([play(engine).question])
    engine.start([episode])
    engine.settle(engine.play([episode], [Message("hm", (1,), (-0.5,), weights="update-12")]))
    engine.settle(engine.play([episode], [Message("hm", (1,), (-0.5,))]))
    first, second = to_record(episode)["turns"]
    assert first["segments"][0]["weights"] == "update-12"
    assert "weights" not in second["segments"][0]
    assert from_record(json.loads(json.dumps(to_record(episode)))).turns == episode.turns


def names(value: Any) -> Iterator[str]:
    """The names of all fields, but for those of a user: settings, terms, arguments, instruments."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            if name not in ("settings", "rewards", "arguments", "measured", "instruments"):
                yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


def test_every_field_is_described() -> None:
    text = (REPOSITORY / "docs" / "records.md").read_text()
    described = set(re.findall(r"`([a-z_0-9]+)`", text.partition("## Old names")[0]))
    assert set(names(RECORDS)) - {"note"} <= described
