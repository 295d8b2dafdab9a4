"""Search-R1 (Jin et al., arXiv 2503.09516): ``<search>`` and ``<information>`` in one text; with
``<documents>`` AutoRefine (arXiv 2505.11277), with ``<evidence>`` InForage, with ``<observation>`` others.

Its environment takes the first of ``<search>`` and ``<answer>`` that a message closes, and tells a message
without either what to write; both replies are its own. The protocol ``tags`` of this package has the same
marks, so what verl dumps of it is read here as well.
"""

from __future__ import annotations

import re

from igpo_gym.agents.rollouts.transcripts.actions import (
    boxed,
    last_tag,
    tag_pattern,
    tagged_call,
    without_thoughts,
)
from igpo_gym.agents.rollouts.transcripts.interface import TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.marks import TextDialect, reply_between, tags
from igpo_gym.episode import Action, Answer, Invalid, ToolCalls
from igpo_gym.protocols.between import between
from igpo_gym.protocols.calls_in_text import TAGS
from igpo_gym.protocols.protocol import INVALID

_CALL = rf"</(?:{'|'.join(TAGS)})>|</(?!(?:think|answer|information)>)\w+>(?=\n<information>\n)"
"""The end of a call: of a tool of a known name, or in the form of the protocol ``tags`` of any."""

_OWN = "|".join(
    ("think", "thinking", "thought", "reason", "reasoning", "plan", "reflect", "refine", "answer", *TAGS)
)
"""The tags that an agent may open behind a search."""


def act(message: str, served: bool = False) -> Action:
    """The first action that a message closes; of calls in a row all.

    What stands in a thought that was closed does nothing where something stands behind it, and no answer was
    ever replied to as a call is.

    >>> act("<think>where? <answer>Elbing</answer>?</think><search> Danzig </search>")
    ToolCalls(calls=(ToolCall(tool='search', arguments={'query': 'Danzig'}),))
    >>> act("<answer> Beijing </answer>")
    Answer(text='Beijing')
    >>> act("<calc>6*7</calc>", served=True)
    ToolCalls(calls=(ToolCall(tool='calc', arguments={'arguments': '6*7'}),))
    """
    names = (*TAGS, last_tag(message) if served else "answer")
    for said in (without_thoughts(message), message):
        found = list(between(said, tag_pattern(names)))
        if not found:
            continue
        opening, inner = found[0][0], found[0][1].strip()
        if opening[1] == "answer":
            text = boxed(inner) or inner
            return Answer(text) if text else Invalid("the answer is empty")
        return ToolCalls(tuple(tagged_call(*each) for each in found if each[0][1] != "answer"))
    return Invalid("no <search> or <answer> block is closed in the message")


SEARCH_R1 = TextDialect(
    name="search-r1",
    tells=re.compile(r"</(?:search|open)>\s*<information>|</information>|</search>|</answer>"),
    reply=reply_between(
        _CALL,
        tags("information", "documents", "evidence", "observation"),
        r"\n\n?|\Z",
        ("<think>", "<search>", "<answer>"),
        refusal=(
            r"\n?My previous action is invalid\. If I want to search"
            r"(?:(?!My previous action).)*?Let me try again\.\n?"
            rf"|\n<information>\n{INVALID}(?:(?!<information>).)*?</information>\n"
        ),
    ),
    act=act,
    # Sampling stops at the end of a search, so what stands directly behind it is mostly a reply.
    strange=re.compile(rf"</search>\s*(?P<mark><(?!(?:{_OWN})>)\w+>)"),
    prompt=re.compile(r"\AAnswer the given question\..*?Question:[^\n]*\n", re.DOTALL),
)
LAYOUT = TranscriptLayout(
    SEARCH_R1.name,
    "a text with <search> and <information>, <documents>, <evidence> or <observation>",
    SEARCH_R1.fits,
    SEARCH_R1.read,
)
