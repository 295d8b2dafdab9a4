"""What verl dumps of a rollout (``trainer.rollout_data_dir``, ``validation_data_dir``): an object a line with
the decoded ``input`` and ``output``, the gold answers ``gts``, the ``score`` and the ``step``.

The output is in whatever dialect the agent wrote; the input is the chat template's, mostly without its
control tokens, so that roles stand alone in their lines. Other files with a prompt and what followed it are
read alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

from igpo_gym.agents.rollouts.transcripts.dialects import dialect_of
from igpo_gym.agents.rollouts.transcripts.fields import about
from igpo_gym.agents.rollouts.transcripts.interface import Transcript, TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.marks import TextDialect
from igpo_gym.agents.rollouts.transcripts.messages import (
    CONTROL,
    are_messages,
    chatml,
    dialogue,
    in_chatml,
    prompt_of,
)
from igpo_gym.agents.rollouts.transcripts.tool_text import act
from igpo_gym.data.rows import Row
from igpo_gym.protocols.calls_in_text import OBSERVATION

_FOLLOWED = ("output", "response", "responses", "completion", "generated_text", "generation")
_PAIRS = tuple(product(("input", "prompt"), _FOLLOWED))
"""The fields that hold a prompt, as a text or as messages, and the text that followed it."""

_NO_MARKS = TextDialect(
    name="plain",
    tells=re.compile(""),
    reply=re.compile(r"(?!)"),
    act=act,
    strange=OBSERVATION,
)
"""A text that is one message as a whole."""

_ROLE = re.compile(r"(?:\A|\n)(system|user|assistant|tool)\n")


def _pair(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    for given, followed in _PAIRS:
        if isinstance(fields.get(followed), str) and isinstance(fields.get(given), str | list):
            return given, followed
    return None


def fits(fields: Mapping[str, Any]) -> bool:
    """Whether a record has a prompt, and the text that followed it."""
    return _pair(fields) is not None


def read(row: Row) -> list[Transcript]:
    """The transcript of a record."""
    pair = _pair(row.fields)
    if pair is None:
        raise ValueError(
            "there are no texts 'input' and 'output', nor any other prompt with what followed it"
        )
    given, output = row.fields[pair[0]], row.text(pair[1])
    told = about({name: value for name, value in row.fields.items() if name not in pair})
    opening = given if are_messages(given) else _messages(str(given))
    if in_chatml(output):
        if output.startswith(CONTROL):
            return [dialogue(chatml(output), told)]
        return [dialogue(chatml(f"{CONTROL}assistant\n{output}"), told, opening)]
    dialect = dialect_of(output) or _NO_MARKS
    return [dialect.transcript(output, told, prompt_of(opening, told.question))]


def _messages(given: str) -> list[dict[str, str]]:
    """The messages of a prompt; what the template opens of the agent's, such as a thought, is the last.

    >>> _messages("system\\nBe brief.\\nuser\\nWhere?\\nassistant\\n<think>\\n")
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'Where?'},
     {'role': 'assistant', 'content': '<think>\\n'}]
    """
    if CONTROL in given:
        return chatml(given)
    head, *rest = _ROLE.split(given)
    if head.strip() or not rest:
        return [{"role": "user", "content": given}]
    return [{"role": role, "content": text} for role, text in zip(rest[::2], rest[1::2], strict=True)]


LAYOUT = TranscriptLayout("verl", "a prompt and the text that followed it, as input and output", fits, read)
