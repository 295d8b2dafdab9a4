"""What a record tells beside its dialogue: which of its fields hold the question, answers and numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from igpo_gym.agents.rollouts.transcripts.interface import About
from igpo_gym.data.answers import answers_of, plain
from igpo_gym.data.files import LITERAL_CHARACTERS, literal
from igpo_gym.data.sets.verl import SPLIT
from igpo_gym.numbers import finite_number

_WITHIN = ("", "extra_info", "info", "item", "metadata", "reward_model", "task")
"""The objects of a record that are looked into: itself, and these fields of it, in this order."""

_QUESTION = ("question", "Question", "query", "problem", "user_query", "question_text")

_GOLD = (
    *("golden_answers", "golden_answer", "gold_answers", "gold_answer", "ground_truths", "ground_truth"),
    *("gold", "gts", "gt", "reference_answer", "expected_answer", "correct_answer", "possible_answers"),
    *("target", "targets", "answers", "answer", "Answer", "label"),
)
"""The fields that hold gold answers; those that can hold nothing else come first."""

_ALIASES = ("answer_aliases", "aliases")

_ID = ("question_id", "qid", "query_id", "example_id", "task_id", "_id", "id", "uid", "index", "idx")

_SOURCE = ("data_source", "dataset", "source")

_STOPPED = (
    *("termination", "stop_reason_final", "end_reason", "stop_condition", "finish_reason", "stop_reason"),
    *("status", "error"),
)

_NO_ERROR = ("", "none", "null", "false", "no", "ok", "0", "no error", "no errors")

_NUMBERS = ("metrics", "scores", "rewards")
"""The objects whose numbers a source notes; those on the top level count too."""

_INNER = ("target", "targets", "ground_truth", "answer", "answers", "value", "text")
"""Where an object that stands for an answer has it."""


def about(fields: Mapping[str, Any]) -> About:
    """What a record tells of its question, and of what the source made of it.

    >>> told = about({"query": "Where?", "ground_truth": {"target": ["Danzig"]}, "qid": 7, "reward": 0.5})
    >>> told.question, told.answers, told.id, dict(told.told)
    ('Where?', ('Danzig',), '7', {'reward': 0.5})
    """
    return About(
        question=_first_text(fields, _QUESTION).strip(),
        answers=gold(fields),
        id=_id(fields),
        source=_first_text(fields, _SOURCE),
        stopped=_stopped(fields),
        told=numbers(fields),
    )


def gold(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The gold answers that a record holds, aliases behind them; empty where it holds none.

    ValueError, which shows no answer, for something in their place that is none.
    """
    for name, value in _found(fields, _GOLD):
        if name == "target" and isinstance(value, str) and value.strip() == "":
            continue
        found = _flat(value)
        if name == "label" and all(isinstance(each, int | float) for each in found):
            continue  # whether the agent was right, as in KTO's files, or a class
        try:
            answers = answers_of(found)
        except ValueError as problem:
            raise ValueError(f"{name!r} holds {problem}") from None
        aliases = [alias for _, more in _found(fields, _ALIASES) for alias in _flat(more)]
        return tuple(dict.fromkeys((*answers, *(alias for alias in aliases if isinstance(alias, str)))))
    return ()


def number(value: object) -> float | None:
    """What a source noted as a number, or as true or false; None for what is neither, or no finite number."""
    return float(value) if isinstance(value, bool) else finite_number(value)


def numbers(fields: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that a source noted: those of the record itself, and of its metrics and rewards.

    An id is none of them, nor is a gold answer that is a number.
    """
    found: dict[str, float] = {}
    groups = [("", fields), *((name, fields.get(name)) for name in _NUMBERS)]
    for group, values in groups:
        for name, value in values.items() if isinstance(values, Mapping) else ():
            told = number(value)
            if told is not None and name not in (*_ID, *_GOLD):
                found[f"{group}.{name}" if group else str(name)] = told
    return found


def question_in(prompt: str) -> str:
    """The question within a prompt: what follows its last ``Question:`` or ``User:``, else all of it.

    >>> question_in("Answer the given question. Question: Where is it?\\n")
    'Where is it?'
    >>> question_in("The User asks.\\n\\nUser:Where is it?\\nAssistant: <think>")
    'Where is it?'
    """
    for mark in ("Question:", "\nUser:", " User:"):
        _, found, rest = prompt.rpartition(mark)
        if found and rest.partition("Assistant:")[0].strip():
            return rest.partition("Assistant:")[0].strip()
    return prompt.strip()


def _found(fields: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Those of the names that are there, with their values: the record's own before those within it."""
    for place in _WITHIN:
        values: Any = fields.get(place) if place else fields
        for name in names if isinstance(values, Mapping) else ():
            if (value := values.get(name)) is not None and plain(value) not in ([], {}):
                yield name, value


def _first_text(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((value for _, value in _found(fields, names) if isinstance(value, str) and value.strip()), "")


def _stopped(fields: Mapping[str, Any]) -> str:
    """All that a record tells of its end: a reason that is natural may stand beside an error."""
    told = [(name, value.strip()) for name, value in _found(fields, _STOPPED) if isinstance(value, str)]
    errors = [f"error: {text}" for name, text in told if name == "error" and text.lower() not in _NO_ERROR]
    return "; ".join([*(text for name, text in told if name != "error" and text), *errors])


def _id(fields: Mapping[str, Any]) -> str:
    for _, value in _found(fields, _ID):
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def _flat(value: Any) -> list[Any]:
    """The answers in whatever a file has in their place: nested lists, an object, a list written as text."""
    value = plain(value)
    if isinstance(value, str):
        text = value.strip()
        if SPLIT in text:
            return [part for part in text.split(SPLIT) if part.strip()]
        return _flat(parsed) if isinstance(parsed := _literal(text), list | dict) and parsed else [value]
    if isinstance(value, Mapping):
        inner = next((value[name] for name in _INNER if value.get(name) is not None), None)
        return [dict(value)] if inner is None else _flat(inner)
    if isinstance(value, list | tuple):
        return [answer for each in value for answer in _flat(each) if answer is not None]
    return [value]


def _literal(text: str) -> Any:
    """The value of a text that is written as JSON's or Python's list or object; None for any other."""
    if not text.startswith(("[", "{")) or len(text) > LITERAL_CHARACTERS:
        return None
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return literal(text)
