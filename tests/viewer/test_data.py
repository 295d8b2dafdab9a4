"""What the page's script reads, held against the episodes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.envs.engine import Engine
from igpo_gym.episode import EndReason, Segment
from igpo_gym.viewer.data import as_json, page_data
from igpo_gym.viewer.runs import read_runs
from tests.conftest import QUESTIONS, play
from tests.viewer.pages import AGAIN, RIGHT, SEARCH, WRONG, group, write

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_json_stands_in_a_script_and_says_the_same(value: object) -> None:
    text = as_json(value)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == value


def test_the_summary_of_an_episode(tmp_path: Path, engine: Engine) -> None:
    data = page_data(read_runs([write(tmp_path / "a.jsonl", group(engine))]))
    assert data.summary["runs"] == ["a"]
    assert data.summary["estimator"] == "igpo-separate"
    assert [question["id"] for question in data.summary["questions"]] == ["q-birth", "q-author"]
    first, second = data.summary["episodes"][:2]
    assert (first["key"], first["turns"], first["end"], first["prediction"]) == (
        "1.q-birth.1",
        3,
        "answered",
        "Danzig",
    )
    assert (first["scores"]["f1"], second["scores"]["f1"]) == (1.0, 0.0)
    assert (first["agent"], first["set"], first["question"]) == ("hand", "tiny", 0)
    # (1 + mentions) / (10 + mentions): the second search alone brings a passage that names Danzig
    assert first["beliefs"] == pytest.approx([0.1, 0.1, 2 / 11], rel=0.2)
    assert first["gain"] == pytest.approx(first["beliefs"][-1] - first["beliefs"][0])
    assert first["returns"]["igpo"] == pytest.approx(1.0 + first["gain"])


def test_an_aborted_episode_has_no_score(tmp_path: Path, engine: Engine) -> None:
    played = play(engine, 1, SEARCH, RIGHT)
    played.end = EndReason.ABORTED
    data = page_data(read_runs([write(tmp_path / "a.jsonl", [played])]))
    (told,) = data.summary["episodes"]
    assert (told["end"], told["scores"]) == ("aborted", {})


def test_the_turns_of_an_episode(tmp_path: Path, engine: Engine) -> None:
    data = page_data(read_runs([write(tmp_path / "a.jsonl", [play(engine, 1, SEARCH, "nonsense", RIGHT)])]))
    (told,) = data.details
    search, invalid, answer = told["turns"]
    assert search["action"] == {"kind": "tools", "calls": [["search", "The Tin Drum novel"]]}
    assert [tag for tag, _ in search["message"]] == ["think", "search"]
    assert ["The Tin Drum", True] in [list(each) for each in search["passages"]]
    golden = "".join(text for text, marks in search["reply"] if "g" in marks)
    assert "The Tin Drum is a novel of 1959 by Günter Grass." in golden
    assert invalid["action"]["kind"] == "invalid"
    assert answer["action"] == {"kind": "answer", "text": "Danzig"}
    assert ["Danzig", "a"] in [list(piece) for _, pieces in answer["message"] for piece in pieces]
    assert [sorted(terms) for terms in told["rewards"]["igpo"]["terms"]] == [
        ["f1", "format-penalty", "gain"]
    ] * 3
    assert told["rewards"]["igpo"]["advantages"] == [0.0] * 3  # no peers


def test_answer_tokens_have_the_names_that_fit(tmp_path: Path, engine: Engine) -> None:
    runs = read_runs([write(tmp_path / "a.jsonl", [play(engine, 0, SEARCH, WRONG)])])
    named = page_data(runs, token_names=str.split).details[0]["answers"]
    assert [each["tokens"] for each in named] == [["Günter", "Grass"], ["Grass"]]
    assert len(named[0]["log_probs"]) == 2  # the prompt, and the turn with a reply
    assert math.exp(named[0]["log_probs"][0][1]) == pytest.approx(0.1)
    assert page_data(runs, token_names=list).details[0]["answers"][0]["tokens"] is None
    assert page_data(runs).details[0]["answers"][0]["tokens"] is None


def test_sampled_tokens(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 0, WRONG)
    said = Segment("agent", "assistant", WRONG, (1, 2), (-0.5, -2.0), tokens=("<answer>Cologne", "</answer>"))
    episode.turns[0] = replace(episode.turns[0], segments=(said,))
    data = page_data(read_runs([write(tmp_path / "a.jsonl", [episode, play(engine, 1, WRONG)])]))
    tokens = [each["turns"][0]["tokens"] for each in data.details]
    assert tokens == [{"texts": ("<answer>Cologne", "</answer>"), "log_probs": (-0.5, -2.0)}, None]


def test_episodes_without_a_scorer_or_rewards(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, RIGHT)
    bare = replace(episode, beliefs=[], rewards=[])
    data = page_data(read_runs([write(tmp_path / "a.jsonl", [bare], None)]))
    (told,) = data.summary["episodes"]
    assert (told["beliefs"], told["gain"], told["returns"]) == ([], None, {})
    assert data.details[0]["rewards"] == {}


def test_a_turn_that_the_scorer_could_not_read_is_told(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, AGAIN, RIGHT)
    episode.extra["unread"] = [2]
    data = page_data(read_runs([write(tmp_path / "a.jsonl", [episode, play(engine, 0, WRONG)])]))
    assert [each["unread"] for each in data.summary["episodes"]] == [[2], []]


def test_rewards_beyond_floats_are_none(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, RIGHT)
    episode.rewards[:] = [{"x": 1.7e308}, {"x": 1.7e308}]
    data = page_data(read_runs([write(tmp_path / "a.jsonl", [episode], None, reward="x")]))
    assert json.loads(as_json(data.summary))["episodes"][0]["returns"] == {"x": None}


def test_protected_questions_show_hashes(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, RIGHT)
    episode.question = replace(QUESTIONS[1], protected=True)
    data = page_data(read_runs([write(tmp_path / "a.jsonl", [episode])]), token_names=str.split)
    text = as_json([data.summary, data.details])
    for secret in ("Danzig", "Tin Drum", "Grass"):
        assert secret not in text
    assert data.summary["questions"][0]["protected"]
    assert data.summary["episodes"][0]["scores"]["f1"] == 1.0
    assert data.details[0]["answers"][0]["tokens"] is None


def test_keys_are_unlike(tmp_path: Path, engine: Engine) -> None:
    """Two sets in one file may share ids."""
    episode = play(engine, 1, SEARCH, RIGHT)
    other = replace(episode, question=replace(QUESTIONS[1], text="Another?"), turns=list(episode.turns))
    data = page_data(read_runs([write(tmp_path / "a.jsonl", [episode, other])]))
    assert [each["key"] for each in data.summary["episodes"]] == ["1.q-birth.1", "1.q-birth.1.2"]
    assert [each["question"] for each in data.summary["episodes"]] == [0, 1]


def test_attempts_of_two_steps_are_apart(tmp_path: Path, engine: Engine) -> None:
    episodes = [play(engine, 1, SEARCH, RIGHT) for _ in range(3)]
    for step, episode in zip((1, 1, 2), episodes, strict=True):
        episode.extra["step"] = step
    episodes[1].attempt = 1
    told = page_data(read_runs([write(tmp_path / "a.jsonl", episodes)])).summary["episodes"]
    assert [(each["group"], each["attempt"], each["step"]) for each in told] == [
        (0, 0, "1"),
        (0, 1, "1"),
        (1, 0, "2"),
    ]
    (alone,) = page_data(read_runs([write(tmp_path / "b.jsonl", [play(engine, 0, WRONG)])])).summary[
        "episodes"
    ]
    assert alone["step"] is None


def test_what_was_cut_is_told(tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, AGAIN, RIGHT)
    episode.turns[0] = replace(episode.turns[0], cut=1234)
    data = page_data(read_runs([write(tmp_path / "a.jsonl", [episode])]))
    assert [turn["cut"] for turn in data.details[0]["turns"]] == [1234, 0]
