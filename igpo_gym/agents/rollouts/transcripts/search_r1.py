"""Search-R1 (Jin et al., arXiv 2503.09516): ``<search>`` and ``<information>`` in one text.

Its environment takes the first of ``<search>`` and ``<answer>`` that a message closes, and tells a message
without either what to write; both replies are its own. The protocol ``tags`` of this package has the same
marks, so what verl dumps of it is read here as well.
"""

from __future__ import annotations

import re

from igpo_gym.agents.rollouts.transcripts.actions import TAGS, boxed
from igpo_gym.agents.rollouts.transcripts.blocks import blocks
from igpo_gym.agents.rollouts.transcripts.interface import Layout
from igpo_gym.agents.rollouts.transcripts.marks import Dialect, reply_between
from igpo_gym.episode import Action, Answer, Invalid, ToolCall, ToolCalls

_ACTION = re.compile(rf"<(answer|{'|'.join(TAGS)})>")
_CALL = re.compile(rf"<({'|'.join(TAGS)})>")


def act(message: str) -> Action:
    """The first action that a message closes; of calls in a row all.

    >>> act("<think>where?</think><search> Danzig </search>")
    ToolCalls(calls=(ToolCall(tool='search', arguments={'query': 'Danzig'}),))
    >>> act("<answer> Beijing </answer>")
    Answer(text='Beijing')
    """
    first = next(blocks(message, _ACTION), None)
    if first is None:
        return Invalid("no <search> or <answer> block is closed in the message")
    opening, inner = first[0], first[1].strip()
    if opening[1] == "answer":
        text = boxed(inner) or inner
        return Answer(text) if text else Invalid("the answer is empty")
    calls = blocks(message, _CALL, place=opening.start())
    return ToolCalls(tuple(ToolCall(found[1], {TAGS[found[1]]: text.strip()}) for found, text in calls))


SEARCH_R1 = Dialect(
    name="search-r1",
    tells=re.compile(r"</(?:search|open)>\s*<information>|</information>|</search>|</answer>"),
    reply=reply_between(
        tuple(f"</{name}>" for name in TAGS),
        "<information>",
        "</information>",
        r"\n\n?|\Z",
        ("<think>", "<search>", "<answer>"),
        also=(
            r"\n?My previous action is invalid\. If I want to search"
            r"(?:(?!My previous action).)*?Let me try again\.\n?"
            r"|\n<information>\nInvalid message: (?:(?!<information>).)*?</information>\n"
        ),
    ),
    act=act,
    prompt=re.compile(r"\AAnswer the given question\..*?Question:[^\n]*\n", re.DOTALL),
)
LAYOUT = Layout(SEARCH_R1.name, "a text with <search> and <information>", SEARCH_R1.fits, SEARCH_R1.read)
