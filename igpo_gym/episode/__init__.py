"""The values that every room of the package passes along: questions, passages, calls, turns, episodes.

An :class:`Episode` is append-only; a step that raises is rolled back. Its transcript is a sequence of
segments that are never changed, so whoever has tokenized a prefix of the transcript need not do so again.

>>> question = Question("1", "Who wrote The Tin Drum?", ("Günter Grass",))
>>> prompt = (Segment("environment", "user", question.text),)
>>> episode = Episode(question, prompt)
>>> said = Segment("agent", "assistant", "<answer>Günter Grass</answer>")
>>> episode.append(Turn(said.text, Answer("Günter Grass"), (said,)), end=EndReason.ANSWERED)
>>> episode.prediction, episode.terminated, len(episode.segments)
('Günter Grass', True, 2)
"""

from __future__ import annotations

from igpo_gym.episode.belief import BELIEF, Aliases, Belief, BeliefView
from igpo_gym.episode.episode import MIXED_WEIGHTS, UNREAD, Branch, EndReason, Episode, EpisodeMark
from igpo_gym.episode.question import EvidenceMatch, Question
from igpo_gym.episode.transcript import Author, Message, Role, Segment
from igpo_gym.episode.turn import (
    Action,
    Answer,
    Invalid,
    Passage,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
    distinct,
)

__all__ = [
    "BELIEF",
    "MIXED_WEIGHTS",
    "UNREAD",
    "Action",
    "Aliases",
    "Answer",
    "Author",
    "Belief",
    "BeliefView",
    "Branch",
    "EndReason",
    "Episode",
    "EpisodeMark",
    "EvidenceMatch",
    "Invalid",
    "Message",
    "Passage",
    "Question",
    "Role",
    "Segment",
    "ToolCall",
    "ToolCalls",
    "ToolResult",
    "Turn",
    "distinct",
]
