"""A turn: what the agent did, what its calls brought, and what both added to the transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from igpo_gym.episode.transcript import Segment
from igpo_gym.values import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a corpus, as a search returns it.

    The score is no part of what a passage is:

    >>> Passage("1", "Danzig", "A port.", score=2.5) == Passage("1", "Danzig", "A port.")
    True
    """

    id: str
    title: str
    text: str
    score: float = field(default=0.0, compare=False)
    """The retriever's score for the query that found it; not comparable between retrievers."""


@quickly_made
@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one tool, as the agent wrote it and its schema allows it.

    >>> ToolCall("search", {"query": "author of The Tin Drum"}).tool
    'search'
    """

    tool: str
    """The tool's name."""
    arguments: Mapping[str, Any]
    """JSON values by the name of the argument."""


@quickly_made
@dataclass(frozen=True, slots=True)
class ToolResult:
    """What one call brought. The environment's reply shows ``text`` where there is one, else the passages.

    >>> ToolResult("32").text, ToolResult(failed=True).passages
    ('32', ())
    """

    text: str = ""
    """What a tool says in words, such as the page of a document."""
    passages: tuple[tuple[Passage, ...], ...] = ()
    """The passages that the reply shows, if only in part; a search has a tuple for each of its queries."""
    failed: bool = False
    """Whether the backend was down. A turn with a failed call pays no information gain."""


@quickly_made
@dataclass(frozen=True, slots=True)
class ToolCalls:
    """The agent calls tools, in the order of its message.

    >>> ToolCalls((ToolCall("search", {"query": "Danzig"}), ToolCall("open", {"document": "Danzig"}))).kind
    'tools'
    """

    calls: tuple[ToolCall, ...]
    kind: ClassVar[str] = "tools"


@quickly_made
@dataclass(frozen=True, slots=True)
class Answer:
    """The agent answers, which ends the episode.

    >>> Answer("Danzig").kind
    'answer'
    """

    text: str
    kind: ClassVar[str] = "answer"


@quickly_made
@dataclass(frozen=True, slots=True)
class Invalid:
    """A message that is not an action; ``reason`` tells the agent what was wrong with it.

    >>> Invalid("the answer is empty").kind
    'invalid'
    """

    reason: str
    kind: ClassVar[str] = "invalid"


Action: TypeAlias = ToolCalls | Answer | Invalid


def distinct(results: tuple[tuple[Passage, ...], ...]) -> tuple[Passage, ...]:
    """The passages of several results without repeats, in order of query and rank.

    >>> danzig, gdansk = Passage("1", "Danzig", "A port."), Passage("2", "Gdańsk", "A city.")
    >>> [passage.id for passage in distinct(((danzig, gdansk), (gdansk,)))]
    ['1', '2']
    """
    return tuple({passage.id: passage for result in results for passage in result}.values())


@quickly_made
@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the agent and the environment's reply.

    >>> danzig = Passage("1", "Danzig", "A port.")
    >>> call = ToolCall("search", {"query": ["Danzig", "port"]})
    >>> turn = Turn("...", ToolCalls((call,)), results=(ToolResult(passages=((danzig,), (danzig,))),))
    >>> [passage.title for passage in turn.passages], turn.failed
    (['Danzig'], False)
    """

    message: str
    action: Action
    segments: tuple[Segment, ...] = ()
    """What the turn added to the transcript: the message, and the reply if there was one."""
    results: tuple[ToolResult, ...] = ()
    """One for each call of the action, in its order."""
    observation: str = ""
    """The environment's reply, empty where the episode ended with the message."""
    cut: int = 0
    """How many characters of documents and results the reply leaves out, by the environment's limits."""

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The distinct passages that the turn brought, in order of call, query and rank."""
        if len(self.results) == 1:
            return distinct(self.results[0].passages)
        return distinct(tuple(found for result in self.results for found in result.passages))

    @property
    def failed(self) -> bool:
        """Whether the backend of any of its calls was down: such a turn pays no information gain."""
        for result in self.results:  # noqa: SIM110 (asked every step, and several times faster than any)
            if result.failed:
                return True
        return False
