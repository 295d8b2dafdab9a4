"""Records of version 1, written by the version that had it, stay readable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from igpo_gym.agents.rollouts.records import from_record, read_rollouts, to_record
from igpo_gym.episode import EndReason, ToolCalls
from igpo_gym.rewards.relabel import relabel
from igpo_gym.tools import queries

FROZEN = Path(__file__).parent / "data" / "version1.jsonl"
RECORDS = [json.loads(line) for line in FROZEN.read_text().splitlines()]


def test_a_frozen_file_is_read() -> None:
    for episode, record in zip(read_rollouts(FROZEN), RECORDS, strict=True):
        assert episode.prediction == record["prediction"]
        assert (episode.end is EndReason.ANSWERED) == (not record["truncated"])
        assert [segment.text for segment in episode.segments] == [each["text"] for each in record["segments"]]
        for turn, old in zip(episode.turns, record["turns"], strict=True):
            assert (turn.message, turn.observation) == (old["message"], old["observation"])
            assert [passage.id for passage in turn.passages] == list(
                dict.fromkeys(passage["id"] for found in old["results"] for passage in found)
            )
            if isinstance(turn.action, ToolCalls):
                assert list(queries(turn.action)) == old["action"]["queries"]
                assert len(turn.results) == len(turn.action.calls)
        again = json.loads(json.dumps(to_record(episode)))
        assert again["format"] == 2
        assert from_record(again) == episode


@pytest.mark.parametrize(
    ("place", "protocol", "expected"),
    [(0, "tags", [[-3.71597], [-0.0022]]), (2, "tool_call", [[-5.99868], [-2.03586]])],
)
def test_the_packaged_scorer_believes_what_it_believed(
    place: int, protocol: str, expected: list[list[float]]
) -> None:
    episode = list(read_rollouts(FROZEN))[place]
    (measured,) = relabel([episode], ["igpo"], "nano", protocol=protocol)
    assert len(measured.episode.beliefs) == len(episode.beliefs)
    for belief, log_probs in zip(measured.episode.beliefs, expected, strict=True):
        assert belief.log_probs == pytest.approx(log_probs, abs=1e-4)


def test_a_record_whose_parts_do_not_belong_together_is_refused() -> None:
    broken = {**RECORDS[0], "segments": RECORDS[0]["segments"][:-1]}
    with pytest.raises(ValueError, match="segments after the prompt"):
        from_record(broken)
