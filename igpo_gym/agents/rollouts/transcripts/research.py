"""ReSearch (Chen et al., arXiv 2503.19470): ``<search>`` and ``<result>`` in one text, answers in
``\\boxed{}``.

Its environment searches the last query of a message, at whose end sampling stops.
"""

from __future__ import annotations

import re

from igpo_gym.agents.rollouts.transcripts.actions import last_query
from igpo_gym.agents.rollouts.transcripts.interface import TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.marks import TextDialect, reply_between, tags
from igpo_gym.episode import Action

_OPEN, _CLOSE = "<search>", "</search>"


def act(message: str, served: bool = False) -> Action:
    """A query that ends the message, else the answer in it.

    >>> act("<think> Where? </think> <search> Danzig </search>").calls[0].arguments
    {'query': 'Danzig'}
    """
    return last_query(message, _OPEN, _CLOSE, "no query and no answer is closed in the message")


RESEARCH = TextDialect(
    name="research",
    tells=re.compile(r"</search>\s*<result>|</result>"),
    reply=reply_between(_CLOSE, tags("result"), "", ("<think>", _OPEN, "<answer>")),
    act=act,
    prompt=re.compile(r"\AA conversation between User and Assistant\..*?Assistant:", re.DOTALL),
)
LAYOUT = TranscriptLayout(RESEARCH.name, "a text with <search> and <result>", RESEARCH.fits, RESEARCH.read)
