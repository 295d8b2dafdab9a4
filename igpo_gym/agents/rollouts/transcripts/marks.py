"""Text transcripts: one text, in which the environment's replies stand between the source's own marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from igpo_gym.agents.rollouts.transcripts.fields import about, question_in
from igpo_gym.agents.rollouts.transcripts.interface import About, Transcript
from igpo_gym.agents.rollouts.transcripts.replies import REFUSED, refused, results
from igpo_gym.data.reading import GatheredPassages
from igpo_gym.data.rows import Row
from igpo_gym.episode import Action, Segment, ToolCalls, Turn

_NAMED = (
    *("gen_text_store", "output", "response", "responses", "completion", "generated_text", "gen_text"),
    *("transcript", "trajectory", "full_text", "sequences_str", "solution_str", "text", "content"),
)
"""The fields that a transcript is looked for in first."""

_PROMPTS = frozenset(("prompt", "input", "chat_prompt", "system_prompt", "question", "instruction"))
"""The fields that hold none, for they may name marks."""


class Marks(NamedTuple):
    """Patterns of the marks around a reply."""

    opening: str
    again: str
    """The opening mark within the reply."""
    closing: str


def tags(*names: str) -> Marks:
    """A tag of one of these names, and its end."""
    return Marks(f"<(?P<tag>{'|'.join(names)})>", "<(?P=tag)>", "</(?P=tag)>")


def signs(opening: str, closing: str) -> Marks:
    """Two texts."""
    return Marks(re.escape(opening), re.escape(opening), re.escape(closing))


def reply_between(
    call: str, marks: Marks, after: str, agent: tuple[str, ...], refusal: str = "(?!)"
) -> re.Pattern[str]:
    """The pattern of replies between two marks.

    A reply begins behind what the pattern ``call`` matches, so that what else looks like one is the agent's
    own text. It ends at its closing mark with the blanks ``after`` that the source puts there; a closing mark
    without them is one that a document spells, unless there is no other. A reply that the end of the text
    cuts is one too, if none of the marks ``agent`` follows; one that is not closed elsewhere has the group
    ``unclosed``.
    ``refusal`` is the pattern of what the environment writes behind a message that is invalid.

    >>> pattern = reply_between("</search>", tags("result", "documents"), "!", ("<think>",))
    >>> found = pattern.search("<search>a</search> <result>x</result> y</result>!So")
    >>> found["call"], found["body"]
    ('</search>', 'x</result> y')
    """
    acts = "|".join((*map(re.escape, agent), marks.closing))
    forms = (
        rf"(?P<body>(?:(?!{marks.again}).)*?){marks.closing}(?:{after})",
        rf"(?P<bare>.*?){marks.closing}",
        rf"(?P<cut>(?:(?!{acts}).)*)\Z",
        r"(?P<unclosed>)",
    )
    served = rf"(?P<call>{call})\s*{marks.opening}(?:{'|'.join(forms)})"
    return re.compile(rf"{served}|(?P<refusal>{refusal})", re.DOTALL)


def unknown_author(mark: str) -> ValueError:
    """The error for a text whose ``mark`` may be the environment's."""
    return ValueError(
        f"{mark!r} may begin a reply of the environment: who wrote it is unknown; a layout of yours can tell"
    )


def beginning(reply: re.Match[str]) -> int:
    """Where a reply begins that a dialect's pattern matched: behind the call."""
    return max(reply.start(), reply.end("call"))


@dataclass(frozen=True, slots=True)
class TextDialect:
    """How the texts of a project tell who wrote what.

    >>> from igpo_gym.agents.rollouts.transcripts.search_r1 import SEARCH_R1
    >>> text = "<search>port</search>\\n\\n<information>Doc 1(Title: Danzig) A port.</information>\\n\\nSo."
    >>> [segment.author for turn in SEARCH_R1.turns(text) for segment in turn.segments]
    ['agent', 'environment', 'agent']
    """

    name: str
    tells: re.Pattern[str]
    """A mark that texts of the project have."""
    reply: re.Pattern[str]
    """A stretch that the environment wrote, blanks of the source's template included, such as
    :func:`reply_between` gives. The group ``call`` is what it follows, where it is the reply to one. Its last
    group is what it says, or ``unclosed``."""
    act: Callable[[str, bool], Action]
    """What a stretch of the agent does, and whether the environment replied to it as to a call."""
    bodies: Callable[[str], list[str]] = lambda body: [body]
    """What a reply says, for each call of the message."""
    strange: re.Pattern[str] | None = None
    """What may be a reply in marks that are not known: its group ``mark`` is what it begins with."""
    prompt: re.Pattern[str] | None = None
    """A prompt at the beginning of the text, where the source puts it there."""

    def turns(self, text: str) -> tuple[Turn, ...]:
        """The agent's stretches, each with the environment's behind it. The text is theirs, without gaps.

        ValueError where it cannot be told who wrote what.
        """
        corpus, turns, place = GatheredPassages(), list[Turn](), 0
        for match in self.reply.finditer(text):
            start = beginning(match)
            said, reply, place = text[place:start], text[start : match.end()], match.end()
            if match.lastgroup == "unclosed":
                raise ValueError(f"reply {len(turns) + 1} is never closed: who wrote on is unknown")
            if said or not turns:
                bodies = self.bodies(match[match.lastgroup]) if match.lastgroup else []
                turns.append(self._turn(said, corpus, reply, bodies))
            else:  # two replies in a row
                last = turns[-1]
                more = Segment("environment", "assistant", reply)
                joined = last.observation + reply
                turns[-1] = replace(last, segments=(*last.segments, more), observation=joined)
        if (rest := text[place:]).strip():
            turns.append(self._turn(rest, corpus))
        return tuple(turns)

    def _turn(self, said: str, corpus: GatheredPassages, reply: str = "", bodies: Sequence[str] = ()) -> Turn:
        if self.strange and (block := self.strange.search(said)):
            raise unknown_author(block["mark"])
        action = REFUSED if refused(bodies) else self.act(said, bool(reply))
        replied = (Segment("environment", "assistant", reply),) if reply else ()
        segments = (Segment("agent", "assistant", said), *replied)
        found = results(action.calls, bodies, corpus) if isinstance(action, ToolCalls) else ()
        return Turn(said, action, segments, found, reply)

    def field(self, fields: Mapping[str, Any]) -> str:
        """The name of the field that holds a text of the project; empty where none does."""
        names = (*_NAMED, *(name for name in fields if name not in _NAMED))
        texts = ((name, fields.get(name)) for name in names if name not in _PROMPTS)
        return next((name for name, text in texts if isinstance(text, str) and self.tells.search(text)), "")

    def fits(self, fields: Mapping[str, Any]) -> bool:
        """Whether a record holds a text of the project, and not one of another that quotes its marks."""
        from igpo_gym.agents.rollouts.transcripts.dialects import dialect_of  # which knows all of them

        name = self.field(fields)
        return bool(name) and dialect_of(fields[name]) is self

    def read(self, row: Row) -> list[Transcript]:
        """The transcript of a record."""
        name = self.field(row.fields)
        if not name:  # a text without a search has no marks
            held = (each for each in _NAMED if isinstance(row.get(each), str))
            if (name := next(held, "")) == "":
                raise ValueError(f"no text with the marks of {self.name} is in it")
        told = about({key: value for key, value in row.fields.items() if key != name})
        return [self.transcript(row.fields[name], told)]

    def transcript(self, text: str, told: About, prompt: tuple[Segment, ...] = ()) -> Transcript:
        """A text as a transcript, behind ``prompt``, or the one that it begins with, or the question."""
        opening = self.prompt.match(text) if self.prompt else None
        if opening:
            prompt, text = (Segment("environment", "user", opening[0]),), text[opening.end() :]
        asked = next((segment.text for segment in reversed(prompt) if segment.role == "user"), "")
        question = told.question or question_in(asked)
        turns = self.turns(text)
        if not turns:
            raise ValueError("the transcript has no message of the agent")
        return Transcript(
            replace(told, question=question),
            "text",
            prompt or (Segment("environment", "user", question),),
            turns,
        )
