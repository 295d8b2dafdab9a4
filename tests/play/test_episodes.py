"""What the page is told of an episode, and what it is not told before the end."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from igpo_gym.errors import ScoringError, SpecError
from igpo_gym.play import episodes as module
from igpo_gym.play.episodes import Episodes, PlayedError, UnknownEpisodeError
from igpo_gym.tools import ToolSpec
from tests.play.serving import GOLD, Follower, Moody, episodes

SEARCH = {"tool": "search", "arguments": {"query": "The Tin Drum"}}
SECRET = {"tool": "search", "arguments": {"query": "hidden place archive"}}


def told(played: Episodes, key: str) -> dict[str, Any]:
    found = json.loads(played.state(key))
    assert isinstance(found, dict)
    return found


@pytest.fixture
def played() -> Episodes:
    return episodes(Moody())


def test_beliefs_gains_and_terms(played: Episodes) -> None:
    """The scorer's belief is (1 + mentions) / (10 + mentions) of the best alias."""
    key = played.begin()
    assert told(played, key)["episode"]["beliefs"] == [0.1]
    played.play(key, 0, SECRET)
    state = told(played, key)
    mentions = state["own"]["turns"][0]["reply"][0][0].count(GOLD)
    assert mentions == 1
    assert state["episode"]["beliefs"] == pytest.approx([0.1, 2 / 11], abs=1e-5)
    (terms,) = state["own"]["rewards"]["igpo"]["terms"]
    assert terms == pytest.approx({"gain": 2 / 11 - 0.1, "f1": 0, "format-penalty": 0}, abs=1e-5)
    assert state["left"] == 3
    played.play(key, 1, {"answer": f" {GOLD}\n"})
    state = told(played, key)
    assert state["episode"]["prediction"] == GOLD
    assert state["episode"]["scores"]["f1"] == 1
    assert math.isclose(state["episode"]["returns"]["igpo"], 2 / 11 - 0.1 + 1, abs_tol=1e-4)


def test_the_gold_answer_is_told_at_the_end_alone(played: Episodes) -> None:
    key = played.begin()
    actions: list[dict[str, Any]] = [SEARCH, {"message": "nonsense"}]
    for turns, action in enumerate(actions):
        played.play(key, turns, action)
        state = played.state(key)
        assert GOLD not in state
        assert "Neustadt" not in state
        assert told(played, key)["question"]["answers"] == []
        assert told(played, key)["question"]["evidence"] == 0
        assert told(played, key)["episode"]["scores"] == {}
        assert told(played, key)["own"]["answers"] == []
    played.play(key, 2, SECRET)
    (pieces,) = [told(played, key)["own"]["turns"][2]["reply"]]
    assert [mark for _, mark in pieces] == [""]  # what a search finds is shown, unmarked
    played.play(key, 3, {"answer": "Danzig"})
    assert told(played, key)["question"]["answers"] == [GOLD, "Neustadt"]
    assert {mark for _, mark in told(played, key)["own"]["turns"][2]["reply"]} >= {"g", "ga"}


def test_a_turn_is_played_once(played: Episodes) -> None:
    key = played.begin()
    played.play(key, 0, SEARCH)
    before = played.state(key)
    with pytest.raises(PlayedError, match="turn 1 is played already"):
        played.play(key, 0, SEARCH)
    assert played.state(key) == before
    played.play(key, 1, {"answer": "x"})
    with pytest.raises(PlayedError, match="turn 3"):
        played.play(key, 2, {"answer": "y"})
    with pytest.raises(UnknownEpisodeError):
        played.play("no-such", 0, SEARCH)


def test_a_step_that_fails_can_be_repeated() -> None:
    scorer = Moody()
    played = episodes(scorer)
    key = played.begin()
    before = played.state(key)
    scorer.fails = True
    with pytest.raises(ScoringError):
        played.play(key, 0, SECRET)
    with pytest.raises(ScoringError):
        played.begin()
    assert played.state(key) == before
    scorer.fails = False
    played.play(key, 0, SECRET)
    assert told(played, key)["episode"]["turns"] == 1


@pytest.mark.parametrize(
    ("action", "problem"),
    [
        ({"tool": "search", "arguments": {"page": 1}}, "search: "),
        ({"tool": "remove", "arguments": {}}, "a call of search, open, an answer or a message"),
        ({"answer": 3}, "an action is"),
        ({}, "an action is"),
    ],
)
def test_what_is_no_action(played: Episodes, action: dict[str, Any], problem: str) -> None:
    key = played.begin()
    with pytest.raises(SpecError, match=problem):
        played.play(key, 0, action)
    assert told(played, key)["episode"]["turns"] == 0


def test_tools_are_forms(played: Episodes) -> None:
    forms = {tool["name"]: tool["fields"] for tool in played.tools()}
    kinds = {name: [(f["name"], f["kind"], f["required"]) for f in fields] for name, fields in forms.items()}
    assert kinds == {
        "search": [("query", "text", True)],
        "open": [("document", "text", True), ("page", "number", False)],
    }


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": ["string", "null"]}, "text"),
        ({"type": ["integer", "null"]}, "number"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text"),
        ({"enum": ["a", "b"]}, "text"),
        ({"enum": [1, 2]}, "number"),
        ({"enum": ["a", 1]}, "json"),
        ({"type": "array"}, "json"),
        (True, "json"),
        ({}, "json"),
    ],
)
def test_a_field_is_typed_by_whatever_schema_it_has(schema: Any, kind: str) -> None:
    """As servers of tools write them: JSON Schema has several ways to say what may be left out."""
    spec = ToolSpec("ask", "Asks.", {"type": "object", "properties": {"x": schema}, "required": []})
    assert module._fields(spec) == [{"name": "x", "kind": kind, "required": False, "help": ""}]


def test_episodes_end_and_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    played = episodes(Moody())
    played.on_end = lambda ended: kept.append(len(ended))
    monkeypatch.setattr(module, "KEPT", 2)
    keys = [played.begin() for _ in range(3)]
    with pytest.raises(UnknownEpisodeError):
        played.state(keys[0])
    for key in keys[1:]:
        played.play(key, 0, {"answer": "x"})
    assert kept == [1, 2]
    assert len(set(keys)) == 3


def test_an_agent_plays_a_message_at_a_time() -> None:
    played = episodes(Moody(), policy=Follower())
    key = played.begin()
    played.play(key, 0, {})
    assert told(played, key)["own"]["turns"][0]["action"]["calls"] == [["search", "novel 0"]]
    played.play(key, 1, {"answer": "what a person says does not count"})
    assert told(played, key)["own"]["turns"][1]["action"]["calls"] == [["search", "novel 1"]]
