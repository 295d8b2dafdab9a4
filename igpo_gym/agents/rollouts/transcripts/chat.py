"""Chat: a list of messages with roles, as OpenAI's API has them, ShareGPT's files, and WebDancer, WebSailor,
DeepResearch, DeepResearcher and IGPO; or the same rendered as ChatML in one text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from igpo_gym.agents.rollouts.transcripts.fields import about
from igpo_gym.agents.rollouts.transcripts.interface import Transcript, TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.messages import are_messages, chatml, dialogue, in_chatml
from igpo_gym.data.rows import Row
from igpo_gym.protocols.messages import ROLES

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
    held = {name: _messages(fields.get(name)) for name in names}
    return next((name for name, messages in held.items() if messages and _has_agent(messages)), "")


def _messages(value: Any) -> list[Mapping[str, Any]]:
    """The messages that a field holds, as a list, as the JSON of one, or in ChatML; empty for none."""
    if isinstance(value, str) and (text := in_chatml(value)):
        return list(chatml(text))
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    return value if are_messages(value) else []


def _has_agent(messages: list[Mapping[str, Any]]) -> bool:
    names = (each.get("role", each.get("from", each.get("type"))) for each in messages)
    return any(ROLES.get(str(name).lower()) == "assistant" for name in names)


def fits(fields: Mapping[str, Any]) -> bool:
    """Whether a record holds messages."""
    return bool(_field(fields))


def read(row: Row) -> list[Transcript]:
    """The transcript of a record; a ``prompt`` of messages beside it comes first."""
    name = _field(row.fields)
    if not name:
        raise ValueError("no list of messages is in it, each with a role")
    told = about({key: value for key, value in row.fields.items() if key != name})
    prompt: Any = row.get("prompt")
    return [dialogue(_messages(row.fields[name]), told, prompt if are_messages(prompt) else ())]


LAYOUT = TranscriptLayout("chat", "a list of messages, each with a role, or their text in ChatML", fits, read)
