"""Text with ``<tool_call>`` and ``<tool_response>``: ReCall, DeepResearcher, IGPO and verl's tool agents.

The control tokens of the chat template were left out when the text was decoded."""

from __future__ import annotations

import re

from igpo_gym.agents.rollouts.transcripts.actions import action
from igpo_gym.agents.rollouts.transcripts.interface import TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.marks import TextDialect
from igpo_gym.episode import Action
from igpo_gym.protocols.between import between
from igpo_gym.protocols.protocol import INVALID

_RESPONSE = re.compile("<(tool_response)>")


def responses(text: str) -> list[str]:
    """What stands in each ``<tool_response>`` of a text.

    >>> responses("<tool_response>\\nA port.\\n</tool_response>\\n<tool_response>A river.</tool_response>")
    ['A port.', 'A river.']
    """
    return [inner.strip() for _, inner in between(text, _RESPONSE)]


def act(message: str, served: bool = False) -> Action:
    """What a message does (:func:`~igpo_gym.agents.rollouts.transcripts.actions.action`)."""
    return action(message)


TOOL_TEXT = TextDialect(
    name="tool-text",
    tells=re.compile(r"</tool_call>|<tool_response>"),
    reply=re.compile(
        r"(?P<call></tool_call>)\s*(?:(?:user|tool)\n\s*)?"
        r"(?:(?P<body><tool_response>.*?</tool_response>(?:\s*<tool_response>.*?</tool_response>)*)"
        r"(?:\s*\bassistant\n|\n)?"
        r"|(?P<cut><tool_response>(?:(?!</tool_response>|<tool_call>|<think>|<answer>).)*)\Z"
        r"|<tool_response>(?P<unclosed>))"
        rf"|(?P<refusal>\n?(?:user|tool)\n\s*<tool_response>\s*{INVALID}(?:(?!<tool_response>).)*?</tool_response>)"
        r"(?:\s*\bassistant\n|\n)?",
        re.DOTALL,
    ),
    act=act,
    bodies=responses,
)
LAYOUT = TranscriptLayout(
    TOOL_TEXT.name, "a text with <tool_call> and <tool_response>", TOOL_TEXT.fits, TOOL_TEXT.read
)
