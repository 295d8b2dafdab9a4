"""Traces of verifiers: episodes of 0.4's ``traces.jsonl``, and rows of earlier versions' ``results.jsonl``.

A trace is a graph, for an agent may go on from a rewritten history: its last branch is read, as
``Trace.messages`` of verifiers is. Which messages a model wrote stands with each (``sampled``); what comes
before the first of them is the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from igpo_gym.agents.rollouts.transcripts.fields import about, number, numbers, question_in
from igpo_gym.agents.rollouts.transcripts.interface import Transcript, TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.messages import are_messages, dialogue
from igpo_gym.data.rows import Row


def fits(fields: Mapping[str, Any]) -> bool:
    """Whether a record is an episode of traces, a trace, or a row of results."""
    if isinstance(fields.get("traces"), list):
        return True
    return _is_trace(fields) or (are_messages(fields.get("completion")) and "prompt" in fields)


def read(row: Row) -> list[Transcript]:
    """The transcripts of a record: of an episode one for each trace that an agent under training or test
    left."""
    if are_messages(row.get("completion")):
        return [_result(row)]
    traces = row.items("traces") if row.get("traces") is not None else [row.fields]
    found = [_trace(each) for each in traces if isinstance(each, Mapping) and _is_trace(each)]
    if not found:
        raise ValueError("the episode has no trace with nodes")
    return found


def _result(row: Row) -> Transcript:
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not are_messages(prompt):
        raise ValueError("the 'prompt' is neither a text nor a list of messages")
    told = about({name: value for name, value in row.fields.items() if name not in ("prompt", "completion")})
    return dialogue(row.fields["completion"], told, prompt)


def _is_trace(fields: Mapping[str, Any]) -> bool:
    return isinstance(fields.get("nodes"), list) and isinstance(fields.get("task"), Mapping)


def _trace(trace: Mapping[str, Any]) -> Transcript:
    task = trace["task"]
    data = task.get("data") if isinstance(task.get("data"), Mapping) else {}
    path, asked = _branch(trace["nodes"]), data.get("prompt")
    first = next((place for place, node in enumerate(path) if node.get("sampled")), None)
    if first is None:
        raise ValueError("no message of the trace was sampled from a model")
    told = about({**data, "info": trace.get("info"), "stop_condition": trace.get("stop_condition")})
    told = replace(
        told,
        id=told.id or str(task.get("key") or ""),
        source=told.source or str(task.get("type") or ""),
        question=told.question or (question_in(asked) if isinstance(asked, str) else ""),
        told={**numbers({"metrics": trace.get("metrics")}), **_rewards(trace.get("rewards"))},
    )
    messages = [node["message"] for node in path]
    return dialogue(messages[first:], told, messages[:first])


def _branch(nodes: list[Any]) -> list[Mapping[str, Any]]:
    """The messages from a root to the last leaf. ValueError for nodes that make up no graph."""
    if not all(isinstance(node, Mapping) and isinstance(node.get("message"), Mapping) for node in nodes):
        raise ValueError("a node of the trace has no message")
    parents = {node.get("parent") for node in nodes}
    place: Any = next((place for place in reversed(range(len(nodes))) if place not in parents), None)
    path = list[Mapping[str, Any]]()
    while place is not None:
        if not isinstance(place, int) or not 0 <= place < len(nodes) or len(path) > len(nodes):
            raise ValueError("the nodes of the trace name parents that are not there")
        path.append(nodes[place])
        place = nodes[place].get("parent")
    return path[::-1]


def _rewards(rewards: Any) -> dict[str, float]:
    """What the trace was paid, by name: each score times its weight."""
    if not isinstance(rewards, Mapping):
        return {}
    told = {
        name: (number(each.get("score")), number(each.get("weight", 1.0)))
        for name, each in rewards.items()
        if isinstance(each, Mapping)
    }
    return {
        f"rewards.{name}": score * weight
        for name, (score, weight) in told.items()
        if score is not None and weight is not None and number(score * weight) is not None
    }


LAYOUT = TranscriptLayout("verifiers", "traces with nodes, or the messages prompt and completion", fits, read)
