"""The dialects of texts, and which of them a text is in."""

from __future__ import annotations

from igpo_gym.agents.rollouts.transcripts.marks import Dialect
from igpo_gym.agents.rollouts.transcripts.r1_searcher import R1_SEARCHER
from igpo_gym.agents.rollouts.transcripts.research import RESEARCH
from igpo_gym.agents.rollouts.transcripts.search_r1 import SEARCH_R1
from igpo_gym.agents.rollouts.transcripts.tool_text import TOOL_TEXT

DIALECTS = (R1_SEARCHER, RESEARCH, TOOL_TEXT, SEARCH_R1)
"""In the order in which they are tried."""


def with_replies(text: str) -> Dialect | None:
    """The dialect in which a text holds replies of the environment; None where it holds none.

    >>> with_replies("<search>port</search>\\n\\n<information>Danzig</information>\\n\\n").name
    'search-r1'
    >>> with_replies("<search>port</search>")
    """
    return next((dialect for dialect in DIALECTS if dialect.reply.search(text)), None)
