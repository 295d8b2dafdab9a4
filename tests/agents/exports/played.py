"""Small files of records: imported transcripts that are priced by hand, in two forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from igpo_gym.agents.rollouts.records import record_line
from igpo_gym.agents.rollouts.transcripts import read_transcripts
from igpo_gym.episode import Belief, Episode
from igpo_gym.rewards import resolve_reward

QUERIES = ("the port of Salman", "Salman", "a novel", "Vistula")
"""What is searched for in the four attempts; the first and third bring the evidence and answer rightly."""

BELIEFS = ((-2.0, -0.5), (-2.0, -2.5), (-3.0, -1.0), (-3.0, -3.0))
"""Of each attempt b_0 and b_1, in nats."""

ANSWERS = ("Danzig", "Wien", "Grass", "Mann")


def reply(place: int) -> str:
    return f"Doc 1(Title: {QUERIES[place]}) It is told of {ANSWERS[place]}, and of {place} more."


def question(place: int) -> tuple[str, str, str]:
    """The id, the text and the gold answer of an attempt's question."""
    return ("q0", "Which port?", "Danzig") if place < 2 else ("q1", "Whose novel?", "Grass")


def inside(place: int) -> dict[str, object]:
    """A transcript in which replies stand inside the assistant's message."""
    id_, text, gold = question(place)
    written = (
        f"<search>{QUERIES[place]}</search>\n\n<information>{reply(place)}</information>\n\n"
        f"<answer>{ANSWERS[place]}</answer>"
    )
    return {"id": id_, "question": text, "golden_answers": [gold], "text": written}


def chat(place: int) -> dict[str, object]:
    """A transcript in which replies are messages of their own."""
    id_, text, gold = question(place)
    messages = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": f"<search>{QUERIES[place]}</search>"},
        {"role": "user", "content": f"<information>{reply(place)}</information>"},
        {"role": "assistant", "content": f"<answer>{ANSWERS[place]}</answer>"},
    ]
    return {"id": id_, "question": text, "golden_answers": [gold], "messages": messages}


def written(folder: Path, form: Callable[[int], dict[str, object]]) -> list[Episode]:
    """The transcripts as ``logs.jsonl``, and read."""
    logs = folder / "logs.jsonl"
    logs.write_text("".join(json.dumps(form(place)) + "\n" for place in range(4)), encoding="utf-8")
    return list(read_transcripts(logs))


def priced(folder: Path, form: Callable[[int], dict[str, object]] = inside) -> Path:
    """A file of records whose beliefs are ``BELIEFS``, paid ``igpo``."""
    reward = resolve_reward("igpo")
    lines = []
    for place, episode in enumerate(written(folder, form)):
        beliefs = [Belief((log_prob,)) for log_prob in BELIEFS[place]]
        episode = replace(episode, beliefs=beliefs, attempt=place % 2)
        episode.rewards += [reward.price(episode, turn) for turn in (1, 2)]
        lines.append(record_line({"questions": "mine", "reward": "igpo"}, episode, reward))
    path = folder / "priced.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    return path
