"""Dumps of verl, traces of verifiers, logs of Inspect, and records of this package."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from igpo_gym.agents.rollouts.records import to_record
from igpo_gym.agents.rollouts.transcripts import read_transcripts
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Answer, Episode
from igpo_gym.errors import DataError, MissingExtraError
from tests.conftest import play

CALL = '<tool_call>\n{"name": "search", "arguments": {"query": "x"}}\n</tool_call>'
RENDERED = "system\nUse tools.\nuser\nAnswer the given question. Question: Where is it?\n\nassistant\n"


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def one(path: Path, **options: Any) -> Episode:
    (episode,) = read_transcripts(path, **options)
    return episode


@pytest.mark.parametrize(
    ("output", "observation", "framing"),
    [
        (
            "<search>a</search>\n\n<information>Doc 1(Title: X) y</information>\n\n<answer>Danzig</answer>",
            "\n\n<information>Doc 1(Title: X) y</information>\n\n",
            "text",
        ),
        (
            f"{CALL}\nuser\n<tool_response>\ny\n</tool_response>\nassistant\n<answer>Danzig</answer>",
            "\nuser\n<tool_response>\ny\n</tool_response>\nassistant\n",
            "text",
        ),
        (
            f"{CALL}<|im_end|>\n<|im_start|>user\n<tool_response>y</tool_response><|im_end|>\n"
            "<|im_start|>assistant\n<answer>Danzig</answer><|im_end|>",
            "<tool_response>y</tool_response>",
            "chat",
        ),
        ("<answer>Danzig</answer>", "", "text"),
    ],
)
def test_verls_dumps_in_every_dialect(tmp_path: Path, output: str, observation: str, framing: str) -> None:
    # As RayPPOTrainer._dump_generations of verl 0.9 writes a line.
    record = {"input": RENDERED, "output": output, "gts": {"target": ["Danzig"]}, "score": 0.5, "step": 3}
    episode = one(write(tmp_path / "3.jsonl", record))
    assert episode.question.text == "Where is it?"
    assert episode.question.answers == ("Danzig",)
    assert [segment.role for segment in episode.prompt] == ["system", "user"]
    assert episode.turns[0].observation == observation
    assert episode.prediction == "Danzig"
    assert episode.imported == {
        "layout": "verl",
        "framing": framing,
        "place": "line 1",
        "told": {"score": 0.5, "step": 3.0},
    }


@pytest.mark.parametrize("observed", ["Observation: A port.", "Observation 1: A port."])
def test_a_dump_of_react_is_refused_for_nobody_can_tell_who_wrote_it(tmp_path: Path, observed: str) -> None:
    output = f"Thought: I search.\nAction: Search[port]\n{observed}\nAction: Finish[Danzig]"
    path = tmp_path / "1.jsonl"
    path.write_text(json.dumps({"input": "user\nWhere?\nassistant\n", "output": output, "gts": ["Danzig"]}))
    with pytest.raises(DataError, match=r"'Observation( 1)?:' may begin a reply of the environment"):
        list(read_transcripts(path))


def test_a_thought_that_the_template_opens_belongs_to_the_prompt(tmp_path: Path) -> None:
    given = "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    record = {"input": given, "output": "It is so.</think><answer>x</answer>", "gts": "x"}
    episode = one(write(tmp_path / "a.jsonl", record))
    assert [(each.author, each.role, each.text) for each in episode.segments] == [
        ("environment", "user", "Where?"),
        ("environment", "assistant", "<think>\n"),
        ("agent", "assistant", "It is so.</think><answer>x</answer>"),
    ]


def test_a_prompt_of_messages_before_a_text(tmp_path: Path) -> None:
    prompt = [{"role": "system", "content": "Hm."}, {"role": "user", "content": "Where?"}]
    text = "<search>a</search>\n\n<information>b</information>\n\n<answer>c</answer>"
    episode = one(write(tmp_path / "a.jsonl", {"prompt": prompt, "responses": text, "answer": "c"}))
    assert (episode.question.text, len(episode.turns)) == ("Where?", 2)
    assert [segment.role for segment in episode.prompt] == ["system", "user"]


def node(role: str, text: str, parent: int | None, sampled: bool = False) -> dict[str, Any]:
    return {"message": {"role": role, "content": text}, "sampled": sampled, "parent": parent}


def trace(*nodes: dict[str, Any], **data: Any) -> dict[str, Any]:
    task = {"type": "SearchQATask", "key": "q1", "data": {"prompt": "Question: Where?", **data}}
    return {
        "task": task,
        "nodes": list(nodes),
        "rewards": {"f1": {"score": 0.5, "weight": 2.0}},
        "metrics": {},
    }


def test_a_trace_of_verifiers_is_read_on_its_last_branch(tmp_path: Path) -> None:
    nodes = (
        node("user", "Question: Where?", None),
        node("assistant", "An example.", 0),
        node("user", "And this?", 1),
        node("assistant", "<search>a</search>", 2, sampled=True),
        node("user", "<information>Doc 1(Title: X) y</information>", 3),
        node("assistant", "left behind", 4, sampled=True),
        node("user", "rewritten", 3),
        node("assistant", "<answer>Danzig</answer>", 6, sampled=True),
    )
    path = write(tmp_path / "traces.jsonl", {"env": {"id": "x"}, "traces": [trace(*nodes, answer="Danzig")]})
    episode = one(path)
    assert [segment.text for segment in episode.prompt] == ["Question: Where?", "An example.", "And this?"]
    assert [turn.message for turn in episode.turns] == ["<search>a</search>", "<answer>Danzig</answer>"]
    assert episode.turns[0].observation == "rewritten"
    assert (episode.question.id, episode.question.text, episode.question.source) == (
        "q1",
        "Where?",
        "SearchQATask",
    )
    assert episode.imported["told"] == {"rewards.f1": 1.0}


@pytest.mark.parametrize(
    ("score", "told"), [(math.nan, {}), (10**400, {}), (1e308, {}), (True, {"rewards.odd": 2.0})]
)
def test_a_score_that_no_json_holds_is_left_out(tmp_path: Path, score: float, told: dict[str, float]) -> None:
    made = trace(node("user", "Where?", None), node("assistant", "Danzig", 0, sampled=True), answer="Danzig")
    made["rewards"]["odd"] = {"score": score, "weight": 2.0}
    episode = one(write(tmp_path / "traces.jsonl", {"env": {"id": "x"}, "traces": [made]}))
    assert episode.imported["told"] == {"rewards.f1": 1.0, **told}


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ([node("user", "x", None)], "no message of the trace was sampled"),
        ([node("assistant", "x", 7, sampled=True)], "parents that are not there"),
        ([{"parent": None}], "has no message"),
        ([node("assistant", "x", 1, True), node("assistant", "x", 0, True)], "no message of the trace"),
    ],
)
def test_traces_that_are_none(tmp_path: Path, nodes: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        one(write(tmp_path / "traces.jsonl", {"traces": [trace(*nodes, answer="x")]}))


def test_results_of_earlier_verifiers(tmp_path: Path) -> None:
    call = json.dumps({"id": "c", "function": {"name": "search", "arguments": '{"query": "x"}'}})
    record = {
        "example_id": 4,
        "prompt": [{"role": "system", "content": "Hm."}, {"role": "user", "content": "Where?"}],
        "completion": [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "A port.", "tool_call_id": "c"},
            {"role": "assistant", "content": "\\boxed{Danzig}"},
        ],
        "answer": "Danzig",
        "reward": 1.0,
    }
    episode = one(write(tmp_path / "results.jsonl", record))
    assert (episode.question.id, episode.prediction, episode.imported["layout"]) == (
        "4",
        "Danzig",
        "verifiers",
    )
    assert episode.turns[0].results[0].text == "A port."


def test_a_sample_of_inspect(tmp_path: Path) -> None:
    # As inspect_ai's EvalSample.model_dump gives it.
    sample = {
        "id": "q1",
        "epoch": 1,
        "input": "Where?",
        "target": ["Danzig", "Gdańsk"],
        "messages": [
            {"role": "user", "content": "Where?"},
            {
                "role": "assistant",
                "content": [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "I look."}],
                "tool_calls": [{"id": "c", "function": "search", "arguments": {"query": "x"}}],
            },
            {"role": "tool", "content": "A port.", "tool_call_id": "c", "function": "search"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "d", "function": "submit", "arguments": {"answer": "Danzig"}}]},
        ],
        "scores": {"includes": {"value": "C"}},
        "metadata": {},
    }  # fmt: skip
    episode = one(
        write(
            tmp_path / "samples.jsonl",
            sample,
        )
    )
    assert episode.imported["layout"] == "inspect"
    assert episode.imported["told"] == {"scores.includes": 1.0}
    assert episode.turns[0].message.startswith("<think>\nHm.\n</think>\n\nI look.\n<tool_call>")
    assert episode.turns[0].results[0].text == "A port."
    assert episode.turns[1].action == Answer("Danzig")


def test_a_log_of_inspect_needs_its_library(tmp_path: Path) -> None:
    (tmp_path / "a.eval").write_bytes(b"PK\x03\x04")
    try:
        import inspect_ai.log  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"igpo-gym\[inspect\]"):
            one(tmp_path / "a.eval")
    else:
        with pytest.raises(DataError, match="not a whole log of Inspect"):
            one(tmp_path / "a.eval")


def test_an_error_about_a_log_of_inspect_shows_no_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pydantic = pytest.importorskip("pydantic")
    sample = pydantic.create_model("Sample", target=(str | list[str], ...))

    def read(*_: object, **__: object) -> Iterator[object]:
        yield sample.model_validate({"target": {"answer": "Danzig"}})

    monkeypatch.setitem(sys.modules, "inspect_ai", ModuleType("inspect_ai"))
    monkeypatch.setitem(sys.modules, "inspect_ai.log", log := ModuleType("inspect_ai.log"))
    monkeypatch.setattr(log, "read_eval_log_samples", read, raising=False)
    (tmp_path / "a.eval").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match=r"after sample 0: target\.str: string_type, ") as raised:
        one(tmp_path / "a.eval")
    assert "Danzig" not in str(raised.value)


def test_own_records_are_what_they_were(tmp_path: Path, engine: Engine) -> None:
    played = play(engine, 1, "<search>Tin Drum</search>", "<answer>Danzig</answer>")
    path = write(tmp_path / "played.jsonl", to_record(played, engine.reward))
    (episode,) = read_transcripts(path)
    assert to_record(episode) == to_record(played) | {"split": episode.extra["split"]}
    assert episode.imported == {}
