"""Search-o1 (Li et al., arXiv 2501.05366) and WebThinker: ``<|begin_search_query|>`` and
``<|begin_search_result|>`` in one text, answers in ``\\boxed{}``.

Sampling stops at the end of a query, and of several in a message the last is searched.
"""

from __future__ import annotations

import re

from igpo_gym.agents.rollouts.transcripts.actions import last_query
from igpo_gym.agents.rollouts.transcripts.interface import TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.marks import TextDialect, reply_between, signs
from igpo_gym.episode import Action

_OPEN, _CLOSE = "<|begin_search_query|>", "<|end_search_query|>"


def act(message: str, served: bool = False) -> Action:
    """A query that ends the message, else the answer in it.

    >>> act("I search. <|begin_search_query|>Danzig<|end_search_query|>").calls[0].arguments
    {'query': 'Danzig'}
    """
    return last_query(message, _OPEN, _CLOSE, "no query and no answer is closed in the message")


SEARCH_O1 = TextDialect(
    name="search-o1",
    tells=re.compile(r"<\|(?:begin|end)_search_(?:query|result)\|>"),
    reply=reply_between(
        re.escape(_CLOSE),
        signs("<|begin_search_result|>", "<|end_search_result|>"),
        r"\n\n?|\Z",
        (_OPEN, "</think>"),
    ),
    act=act,
)
LAYOUT = TranscriptLayout(
    SEARCH_O1.name,
    "a text with <|begin_search_query|> and <|begin_search_result|>",
    SEARCH_O1.fits,
    SEARCH_O1.read,
)
