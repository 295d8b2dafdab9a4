"""The text protocols: prompts, grammars, replies and the answer probe, each apart from the others."""

from __future__ import annotations

import dataclasses
import re

import igpo_gym.specs as specs
from igpo_gym.protocols.grammar import MAX_QUERIES, Grammar
from igpo_gym.protocols.igpo import igpo
from igpo_gym.protocols.native import NATIVE, native_message
from igpo_gym.protocols.probe import ANSWER_PROBE, AnswerProbe
from igpo_gym.protocols.protocol import ReplyLimits, TextProtocol
from igpo_gym.protocols.tags import TAGS
from igpo_gym.protocols.tool_call import TOOL_CALL

__all__ = [
    "ANSWER_PROBE",
    "CHAT",
    "MAX_QUERIES",
    "NATIVE",
    "PROTOCOLS",
    "TAGS",
    "TOOL_CALL",
    "AnswerProbe",
    "Grammar",
    "ReplyLimits",
    "TextProtocol",
    "igpo",
    "native_message",
    "reply_beginning",
    "resolve_protocol",
]

CHAT = dataclasses.replace(TAGS, name="tags-chat", reply_role="user")
"""The tags, with each reply a user message: for libraries whose transcripts have two speakers in turn."""

PROTOCOLS = {protocol.name: protocol for protocol in (TAGS, CHAT, TOOL_CALL, NATIVE, igpo())}
"""The package's protocols by name."""

for _protocol in (TAGS, CHAT, TOOL_CALL, NATIVE):
    specs.register("protocol", _protocol.name, _protocol)
specs.register("protocol", "igpo", igpo, form="igpo[#date=DATE,think=true]")


def resolve_protocol(spec: str | TextProtocol) -> TextProtocol:
    """A protocol by its spec, or the protocol itself. Raises SpecError for anything else.

    >>> resolve_protocol("igpo#think=true").prefilled
    True
    """
    protocol: TextProtocol = specs.resolve("protocol", spec)
    return protocol


def reply_beginning(protocol: TextProtocol) -> re.Pattern[str]:
    """How the block of a reply begins, in this protocol and in the package's: a chat template may have a
    block of its own where a protocol has none. What it finds in an agent's message is a forgery.

    >>> reply_beginning(TAGS).findall("<information> Oskar </information> <tool_response>")
    ['information', 'tool_response']
    """
    tags = sorted({each.result_tag for each in (*PROTOCOLS.values(), protocol)} - {""})
    return re.compile(rf"<({'|'.join(map(re.escape, tags))})\b")
