"""Chat: a list of messages with roles, as OpenAI's API has them, ShareGPT's files, and WebDancer, WebSailor,
DeepResearch, DeepResearcher and IGPO; or the same rendered as ChatML in one text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igpo_gym.agents.rollouts.transcripts.fields import about
from igpo_gym.agents.rollouts.transcripts.interface import Layout, Transcript
from igpo_gym.agents.rollouts.transcripts.messages import ROLES, are_messages, chatml, dialogue
from igpo_gym.data.rows import Row

_NAMED = (
    "messages",
    "conversations",
    "conversation",
    "dialogue",
    "chat",
    "history",
    "trajectory",
    "completion",
)


def _field(fields: Mapping[str, Any]) -> str:
    """The field that holds the messages, or the text that spells them; empty where there is none."""
    names = (*_NAMED, *(name for name in fields if name not in _NAMED and name != "prompt"))
    held = (name for name in names if are_messages(fields.get(name)) and _has_agent(fields[name]))
    spelled = (
        name
        for name in names
        if isinstance(text := fields.get(name), str) and "<|im_start|>assistant" in text
    )
    return next(held, "") or next(spelled, "")


def _has_agent(messages: list[Mapping[str, Any]]) -> bool:
    return any(ROLES.get(str(each.get("role", each.get("from"))).lower()) == "assistant" for each in messages)


def fits(fields: Mapping[str, Any]) -> bool:
    """Whether a record holds messages."""
    return bool(_field(fields))


def read(row: Row) -> list[Transcript]:
    """The transcript of a record; a ``prompt`` of messages beside it comes first."""
    name = _field(row.fields)
    if not name:
        raise ValueError("no list of messages is in it, each with a role")
    told = about({key: value for key, value in row.fields.items() if key != name})
    value: Any = row.fields[name]
    prompt: Any = row.get("prompt")
    messages = chatml(value) if isinstance(value, str) else value
    return [dialogue(messages, told, prompt if are_messages(prompt) else ())]


LAYOUT = Layout("chat", "a list of messages, each with a role, or their text in ChatML", fits, read)
