"""``tools``: the tools of a library, whose own chat template shows their schemas and writes the calls.

Answering is a tool too. The library hands over calls, not text; in the transcript that the scorer reads they
stand as JSON, and the advice names tools and arguments, never a tag that the library's syntax does not have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from igpo_gym.episode import Action, Answer, ToolCall, ToolCalls
from igpo_gym.protocols.blocks import Blocks
from igpo_gym.protocols.grammar import Tools, checked_answer
from igpo_gym.protocols.json_calls import JsonForm
from igpo_gym.protocols.numbered import numbered
from igpo_gym.protocols.protocol import TextProtocol
from igpo_gym.protocols.tool_call import question_alone
from igpo_gym.text import neutralize
from igpo_gym.tools.interface import ToolSpec

ANSWER = ToolSpec(
    name="answer",
    description="Give the final answer to the question, which ends the episode.",
    parameters={
        "type": "object",
        "properties": {
            "answer": {"type": "string", "description": "The answer, short and without explanation."}
        },
        "required": ["answer"],
    },
    examples=({"answer": "answer"},),
    purpose="answer",
    trusted=True,
)
"""Answering, as the tool that a library shows to its model."""


@dataclass(frozen=True, slots=True)
class NativeTools:
    """Calls as JSON blocks, the answer being one of them.

    >>> from igpo_gym.tools.searching import SEARCH
    >>> NATIVE.grammar.write(Answer("Danzig"), [SEARCH])
    '<tool_call>{"name": "answer", "arguments": {"answer": "Danzig"}}</tool_call>'
    """

    blocks: Blocks = field(default_factory=lambda: Blocks(JsonForm(), "tool_response"))

    def read(self, message: str, tools: Tools) -> ToolCalls | Answer:
        """The action; an answer may be the only call of its message."""
        read = self.blocks.read(message, (*tools, ANSWER))
        if isinstance(read, Answer) or all(call.tool != ANSWER.name for call in read.calls):
            return read
        if len(read.calls) > 1:
            raise ValueError("one action a message: call tools or answer, and only one answer")
        return checked_answer(str(read.calls[0].arguments["answer"]))

    def write(self, action: ToolCalls | Answer, tools: Tools) -> str:
        """The calls of an action as JSON blocks."""
        return self.blocks.write(as_calls(action), (*tools, ANSWER))

    def end(self, text: str, tools: Tools, thinking: bool) -> int | None:
        """The end of the first call."""
        return self.blocks.end(text, (*tools, ANSWER), thinking)

    def stops(self, tools: Tools) -> tuple[str, ...]:
        """The tag that closes a call."""
        return ("</tool_call>",)


def as_calls(action: ToolCalls | Answer) -> ToolCalls:
    """The action as calls alone."""
    return (
        ToolCalls((ToolCall(ANSWER.name, {"answer": action.text}),)) if isinstance(action, Answer) else action
    )


def named_calls(protocol: TextProtocol, action: Action) -> str:
    """An action in words that fit any syntax of calls."""
    assert isinstance(action, ToolCalls | Answer)
    return " and ".join(
        f"{call.tool} with {json.dumps(dict(call.arguments), ensure_ascii=False)}"
        for call in as_calls(action).calls
    )


def instructions(protocol: TextProtocol) -> str:
    """The system message. The library's template adds the tools' schemas."""
    search = " by searching" if protocol.tools else ""
    use = "".join(
        f" Call {tool.name} to {tool.description[:1].lower()}{tool.description[1:]}"
        for tool in protocol.tools
    )
    return (
        f"You answer questions{search}.{use} When you know enough, call answer, with a short answer and "
        "no explanation."
    )


def native_message(protocol: TextProtocol, calls: Sequence[tuple[str, object]], thought: str = "") -> str:
    """The message in ``protocol`` that makes the calls (name, arguments) that a library hands over.

    A call that is wrong becomes a message that the protocol refuses with the reason.

    >>> from igpo_gym.protocols.tags import TAGS
    >>> native_message(TAGS, [("search", {"query": "Danzig"}), ("search", {"query": "Vistula"})], "where?")
    '<think>where?</think><search>Danzig</search><search>Vistula</search>'
    """
    blocks = "".join(
        f"<tool_call>{neutralize(json.dumps(_object(*call), ensure_ascii=False, default=str))}</tool_call>"
        for call in calls
    )
    try:
        action = NATIVE.grammar.read(blocks, protocol.tools)
    except ValueError:
        return (protocol.thought(neutralize(thought)) if protocol.prefilled else neutralize(thought)) + blocks
    return protocol.write(action, neutralize(thought))


def _object(name: str, arguments: object) -> dict[str, object]:
    return {"name": name, "arguments": arguments}


NATIVE = TextProtocol(
    name="tools",
    grammar=NativeTools(),
    system=instructions,
    user=question_alone,
    render=numbered,
    result_tag="tool_response",
    reply_role="user",
    advise=named_calls,
)
