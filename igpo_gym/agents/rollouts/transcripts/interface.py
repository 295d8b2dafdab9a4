"""What a layout of transcripts is, and what it makes of a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from igpo_gym.data.rows import Row
from igpo_gym.episode import Answer, EndReason, Episode, Segment, Turn

Framing = Literal["text", "chat"]
"""How a transcript was written: ``text`` is one message of the agent, in which the environment's replies
stand between marks; ``chat`` is a list of messages with roles."""


@dataclass(frozen=True, slots=True)
class About:
    """What a record tells beside the dialogue itself.

    >>> About("Where?", ("Danzig",)).id
    ''
    """

    question: str = ""
    """The question's text; empty where the record does not tell."""
    answers: tuple[str, ...] = ()
    """The gold answer and its aliases; empty where the record does not tell."""
    id: str = ""
    """The question's id; empty where the record does not tell."""
    source: str = ""
    """The data set that the question comes from."""
    stopped: str = ""
    """Why the source says that it ended."""
    told: Mapping[str, float] = field(default_factory=dict)
    """The numbers that the source noted, such as its score or its reward, by name."""

    @property
    def cut_short(self) -> EndReason | None:
        """What the source says that it was broken off by; None where it says nothing of the kind."""
        stopped = _NATURAL.sub("", self.stopped.lower())
        told = (reason for words, reason in _STOPPED.items() if any(word in stopped for word in words))
        return next(told, None)


_STOPPED = {
    ("token", "context", "length", "too_long"): EndReason.CONTEXT_EXHAUSTED,
    ("error", "abort", "cancel", "timeout"): EndReason.ABORTED,
}
"""The words by which a source says that a transcript was broken off, maybe amid its last message."""

_NATURAL = re.compile(
    r"(?:eos|stop|end)[ _-]?(?:of[ _-]\w+[ _-])?tokens?|(?:no|without|0)[ _-](?:any[ _-])?errors?"
)
"""What holds these words and is an end as it should be."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A dialogue as a layout reads it: an episode whose gold answers may still be unknown.

    >>> said = Segment("agent", "assistant", "<answer>Danzig</answer>")
    >>> turn = Turn(said.text, Answer("Danzig"), (said,))
    >>> Transcript(About("Where?"), "chat", (Segment("environment", "user", "Where?"),), (turn,)).end
    <EndReason.ANSWERED: 'answered'>
    """

    about: About
    framing: Framing
    prompt: tuple[Segment, ...]
    """What opened the dialogue, all of it the environment's."""
    turns: tuple[Turn, ...]
    """The agent's messages, each with what the environment wrote after it. Together with the prompt, their
    segments are the whole transcript, in its order."""

    @property
    def end(self) -> EndReason:
        """Why it ended: by its last message, else by what the source says, else it was out of turns."""
        if isinstance(self.turns[-1].action, Answer):
            return EndReason.ANSWERED
        return self.about.cut_short or EndReason.TURNS_EXHAUSTED


@dataclass(frozen=True, slots=True)
class TranscriptLayout:
    """A layout of transcripts, registered as a ``transcripts``.

    >>> from igpo_gym.agents.rollouts.transcripts.chat import LAYOUT
    >>> LAYOUT.fits({"messages": [{"role": "assistant", "content": "Here."}]}), LAYOUT.fits({"question": "?"})
    (True, False)
    """

    name: str
    """Its registered name."""
    tells: str
    """By what it is recognized, for messages."""
    fits: Callable[[Mapping[str, Any]], bool]
    """Whether a record has the layout. It raises for no record."""
    read: Callable[[Row], Sequence[Transcript | Episode]]
    """The transcripts of a record, in most layouts one. ValueError says what is wrong with the record."""
