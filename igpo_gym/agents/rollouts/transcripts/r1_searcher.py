"""R1-Searcher (Song et al., arXiv 2503.05592): ``<|begin_of_query|>`` and ``<|begin_of_documents|>`` in one
text.

Sampling stops at the end of a query, and of several in a message the last is searched. The thought that holds
it all is opened by the prompt, so a text may begin within it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from igpo_gym.agents.rollouts.transcripts.actions import last_query
from igpo_gym.agents.rollouts.transcripts.interface import TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.marks import TextDialect, reply_between, signs
from igpo_gym.episode import Action

_OPEN, _CLOSE = "<|begin_of_query|>", "<|end_of_query|>"


def act(message: str, served: bool = False) -> Action:
    """A query that ends the message, else the answer in it.

    >>> act("I'll search:\\n\\n<|begin_of_query|> Irish Home Rule<|end_of_query|>").calls[0].arguments
    {'query': 'Irish Home Rule'}
    >>> act("So it is.\\n </think>\\n\\n <answer> Home Rule League </answer>")
    Answer(text='Home Rule League')
    """
    return last_query(message, _OPEN, _CLOSE, "no query and no <answer> is closed in the message")


R1_SEARCHER = TextDialect(
    name="r1-searcher",
    tells=re.compile(r"<\|(?:begin|end)_of_(?:query|documents)\|>"),
    reply=reply_between(
        re.escape(_CLOSE),
        signs("<|begin_of_documents|>", "<|end_of_documents|>"),
        r"\n\n?|\Z",
        (_OPEN, "<answer>", "</think>"),
    ),
    act=act,
    prompt=re.compile(r"\AThe User asks a .*?\nAssistant:(?: <think>)?", re.DOTALL),
)


def fits(fields: Mapping[str, Any]) -> bool:
    """Whether a record is one of R1-Searcher's evaluation, or holds such a text."""
    return isinstance(fields.get("gen_text_store"), str) or R1_SEARCHER.fits(fields)


LAYOUT = TranscriptLayout(
    R1_SEARCHER.name, "a text with <|begin_of_query|> and <|begin_of_documents|>", fits, R1_SEARCHER.read
)
