"""The dialects of texts, and which of them a text is in."""

from __future__ import annotations

from igpo_gym.agents.rollouts.transcripts.marks import TextDialect, beginning
from igpo_gym.agents.rollouts.transcripts.r1_searcher import R1_SEARCHER
from igpo_gym.agents.rollouts.transcripts.research import RESEARCH
from igpo_gym.agents.rollouts.transcripts.search_o1 import SEARCH_O1
from igpo_gym.agents.rollouts.transcripts.search_r1 import SEARCH_R1
from igpo_gym.agents.rollouts.transcripts.tool_text import TOOL_TEXT

DIALECTS = (R1_SEARCHER, SEARCH_O1, RESEARCH, TOOL_TEXT, SEARCH_R1)
"""In the order in which they are tried."""


def first_reply(text: str) -> tuple[int, TextDialect] | None:
    """Where the environment's first reply begins in a text, and the dialect that it is in; None without one.

    What a reply quotes, such as the marks of other dialects, stands behind that place and decides nothing.

    >>> text = "<search>port</search>\\n\\n<information>See </search> <result>1</result>.</information>\\n\\n"
    >>> place, dialect = first_reply(text)
    >>> place, dialect.name
    (21, 'search-r1')
    >>> first_reply("<search>port</search>")
    """
    found = [(beginning(match), each) for each in DIALECTS if (match := each.reply.search(text))]
    return min(found, key=lambda each: each[0], default=None)


def dialect_of(text: str) -> TextDialect | None:
    """The dialect of a text: that of its first reply, or without one the first whose marks it has."""
    reply = first_reply(text)
    return reply[1] if reply else next((each for each in DIALECTS if each.tells.search(text)), None)
