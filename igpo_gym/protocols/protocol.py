"""A text protocol: how the agent is prompted, how it acts, and how the environment replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from igpo_gym.episode import (
    Action,
    Answer,
    Invalid,
    Passage,
    Question,
    Role,
    Segment,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.errors import SpecError
from igpo_gym.protocols.grammar import THINK, THOUGHT, Grammar, without_end_of_turn
from igpo_gym.protocols.probe import ANSWER_PROBE, AnswerProbe
from igpo_gym.text import neutralize
from igpo_gym.tools.interface import ToolSpec
from igpo_gym.tools.searching import SEARCH

Results: TypeAlias = Sequence[tuple[ToolCall, ToolResult]]

INVALID = "Invalid message: "
"""What the reply to an invalid message begins with."""


LIMIT_SETTINGS = {
    "max_passage_chars": "passage_chars",
    "max_reply_chars": "reply_chars",
    "repeat_passages": "repeat_passages",
}
"""The settings of an environment that say how much its replies show, and the limits that they are."""


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """How much a reply shows. Raises ValueError for a limit below 1.

    >>> ReplyLimits(passage_chars=500).reply_chars
    12000
    >>> ReplyLimits(reply_chars=0)
    Traceback (most recent call last):
    ValueError: max_reply_chars must be a whole number of at least 1, or None, not 0
    """

    passage_chars: int | None = 4000
    """Of each passage, in characters; None for all."""
    reply_chars: int | None = 12_000
    """Of a reply altogether."""
    repeat_passages: bool = True
    """Whether a passage that an earlier reply has shown is shown again, or named alone."""

    def __post_init__(self) -> None:
        for name in ("passage_chars", "reply_chars"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"max_{name} must be a whole number of at least 1, or None, not {value!r}")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ReplyLimits:
        """Those that the settings of an environment tell; the defaults where they tell none.

        >>> ReplyLimits.of({"max_passage_chars": 500, "questions": "world:test"}).passage_chars
        500
        """
        return cls(**{name: settings[own] for own, name in LIMIT_SETTINGS.items() if own in settings})

    def shown_before(self, turns: Sequence[Turn]) -> frozenset[str]:
        """The ids of the passages that a reply behind these turns names alone."""
        if self.repeat_passages:
            return frozenset()
        return frozenset([passage.id for turn in turns for passage in turn.passages])


Render: TypeAlias = Callable[[Results, frozenset[str], ReplyLimits], tuple[str, int]]
"""Makes the body of a reply from the results of a message's calls, given the ids of passages that were shown
before: the text, and how many characters were left out."""


@dataclass(frozen=True)
class TextProtocol:
    """Multi-turn use of tools in text: prompts, a grammar, replies, and the answer probe.

    Prompts and advice are made from the tools' specifications, so what the environment advises is valid.
    ``parse`` and ``write`` are inverses of each other.

    >>> from igpo_gym.protocols import TAGS
    >>> TAGS.parse("<think>who wrote it?</think><search>author of The Tin Drum</search>")
    ToolCalls(calls=(ToolCall(tool='search', arguments={'query': 'author of The Tin Drum'}),))
    >>> TAGS.parse("<answer>Günter Grass</answer>")
    Answer(text='Günter Grass')
    >>> TAGS.parse("It was Grass.").reason
    'no action: the message has no <search> or <answer> block'
    """

    name: str
    grammar: Grammar
    system: Callable[[TextProtocol], str]
    """The system message; empty for none."""
    user: Callable[[TextProtocol], str]
    """The first user message, with ``{question}`` in it."""
    render: Render
    result_tag: str
    """The tag around a reply; empty for none."""
    reply_role: Role
    """Whose message the environment's reply belongs to: the agent's own (inline), the user's, or a tool's."""
    probe: AnswerProbe = ANSWER_PROBE
    tools: tuple[ToolSpec, ...] = (SEARCH,)
    """What the agent may call."""
    prefilled: bool = False
    """Whether the environment opens a thought at the beginning of each of the agent's messages."""
    advise: Callable[[TextProtocol, Action], str] | None = None
    """How calls are put into words for the agent ("search with ..."); by the message itself where None."""

    def with_tools(self, tools: Iterable[ToolSpec]) -> TextProtocol:
        """The protocol with these tools.

        Raises SpecError for two of one name, for a name in use, and for a tool whose example this protocol
        cannot write: an agent could not call it.
        """
        chosen = tuple(tools)
        names = [tool.name for tool in chosen]
        for name in names:
            if names.count(name) > 1:
                raise SpecError(f"two tools have the name {name!r}")
            if name in ("answer", "think", self.result_tag):
                raise SpecError(f"a tool cannot have the name {name!r}: the protocol {self.name!r} uses it")
        protocol = replace(self, tools=chosen)
        for tool in chosen:
            written = protocol.write(ToolCalls((ToolCall(tool.name, tool.example),)))
            read = protocol.parse(written)
            if not isinstance(read, ToolCalls) or {call.tool for call in read.calls} != {tool.name}:
                why = read.reason if isinstance(read, Invalid) else "it is read as something else"
                raise SpecError(f"the protocol {self.name!r} cannot call the tool {tool.name!r}: {why}")
        return protocol

    def with_probe(self, probe: AnswerProbe) -> TextProtocol:
        """The protocol with another answer probe."""
        return replace(self, probe=probe)

    def prompt(self, question: Question) -> tuple[Segment, ...]:
        """The segments that open an episode. They hold nothing of the gold answer."""
        system, user = self._templates
        text = user.replace("{question}", neutralize(question.text))
        opening = (Segment("environment", "system", system),) if system else ()
        return (*opening, Segment("environment", "user", text), *self._opening)

    @cached_property
    def _templates(self) -> tuple[str, str]:
        """The system message and the first user message: the same in all episodes."""
        return self.system(self), self.user(self)

    def parse(self, message: str) -> Action:
        """The action in an agent's message. Total: any string gives an action, none raises."""
        said = without_end_of_turn(message)
        try:
            return self.grammar.read(THINK + said if self.prefilled else said, self.tools)
        except ValueError as problem:
            return Invalid(str(problem))

    def write(self, action: ToolCalls | Answer, thought: str = "") -> str:
        """The message that does ``action``, as an agent of this protocol writes it."""
        return self.thought(thought) + self.form(action)

    def form(self, action: ToolCalls | Answer) -> str:
        """The part of a message that does ``action``, behind its thought: what prompts and advice show."""
        return self.grammar.write(action, self.tools)

    def thought(self, text: str) -> str:
        """A thought, as a message begins with it: its end alone where the environment has opened it."""
        if self.prefilled:
            return text + THOUGHT
        return f"{THINK}{text}{THOUGHT}" if text else ""

    def end(self, text: str, thinking: bool = False) -> int | None:
        """Where the action of a growing message is complete, so that sampling stops; None where it is not.

        ``thinking``: the message begins within a thought that the chat template has opened. A closing tag
        within a thought, or within a JSON string, ends nothing.
        """
        return self.grammar.end(text, self.tools, thinking or self.prefilled)

    def cut(self, text: str, thinking: bool = False) -> str:
        """The text up to the end of its action; all of it where it has none."""
        return text[: self.end(text, thinking)]

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts after which an action may be complete, for engines that stop at texts."""
        return self.grammar.stops(self.tools)

    def reply(self, body: str, last_call: bool = False) -> tuple[Segment, ...]:
        """The environment's reply. It ends with a newline, where tokenizers do not merge.

        ``last_call``: whether it says that only an answer is still allowed.
        """
        body = f"{body}\n{self.last_call()}" if last_call else body
        tag, lead = self.result_tag, "\n" if self.reply_role == "assistant" else ""
        text = f"{lead}<{tag}>\n{body}\n</{tag}>\n" if tag else f"{lead}{body}\n"
        return (Segment("environment", self.reply_role, text), *self._opening)

    def reply_text(self, body: str) -> str:
        """The text of the environment's reply, as the observation shows it."""
        return self.reply(body)[0].text

    def passages(self, passages: Sequence[Passage]) -> str:
        """The body of a reply to a search that found these passages."""
        call = ToolCall(SEARCH.name, {"query": ""})
        return self.results([(call, ToolResult(passages=(tuple(passages),)))])[0]

    def results(
        self,
        results: Results,
        shown: frozenset[str] = frozenset(),
        limits: ReplyLimits = ReplyLimits(),
    ) -> tuple[str, int]:
        """The body of a reply to calls, and how many characters of it were left out by ``limits``."""
        return self.render(results, shown, limits)

    def body(self, observation: str) -> str:
        """The body of a reply without the tags around it, for libraries that put tags of their own."""
        text, tag = observation.strip(), self.result_tag
        return text.removeprefix(f"<{tag}>\n").removesuffix(f"\n</{tag}>") if tag else text

    def reply_to(
        self,
        results: Results,
        shown: frozenset[str],
        limits: ReplyLimits,
        last_call: bool = False,
    ) -> tuple[tuple[Segment, ...], int]:
        """The environment's :meth:`reply` to calls, and how many characters were left out by ``limits``."""
        body, cut = self.render(results, shown, limits)
        return self.reply(body, last_call), cut

    def says_last_call(self, observation: str) -> bool:
        """Whether a reply says that only an answer is still allowed."""
        return self.body(observation).endswith(self.last_call())

    def advice(self, answer_only: bool = False) -> str:
        """What the agent may write, for each tool and for answering."""
        calls = (
            []
            if answer_only
            else [
                f"{self._shown(ToolCalls((ToolCall(tool.name, tool.example),)))} to {tool.purpose}"
                for tool in self.tools
            ]
        )
        answer = f"{self._shown(Answer('answer'))} to answer"
        return f"{'Call' if self.advise else 'Write'} {' or '.join([*calls, answer])}."

    def invalid(self, reason: str, answer_only: bool = False) -> str:
        """The body of a reply to an invalid message."""
        return f"{INVALID}{reason}. {self.advice(answer_only)}"

    def last_call(self) -> str:
        """What a reply says when only an answer is still allowed."""
        return f"This is your last message: only an answer counts. {self.advice(answer_only=True)}"

    def _shown(self, action: ToolCalls | Answer) -> str:
        return self.advise(self, action) if self.advise else self.form(action)

    @cached_property
    def _opening(self) -> tuple[Segment, ...]:
        return (Segment("environment", "assistant", THINK),) if self.prefilled else ()


def unavailable(tool: str) -> str:
    """What the agent is told of a call that the backend could not serve."""
    return f"{tool.capitalize()} is unavailable at the moment. Try again, or answer with what you know."
