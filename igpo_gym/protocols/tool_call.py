"""``tool_call``: calls as JSON, in the form of Hermes and Qwen; each reply is a user message."""

from __future__ import annotations

import json

from igpo_gym.episode import Answer, ToolCall
from igpo_gym.protocols.blocks import Blocks
from igpo_gym.protocols.json_calls import JsonForm, call_object
from igpo_gym.protocols.numbered import numbered
from igpo_gym.protocols.protocol import TextProtocol


def instructions(protocol: TextProtocol) -> str:
    """The system message: the tools with their schemas, a call of each, and how to answer."""
    if not protocol.tools:
        return without_tools(protocol)
    schemas = "\n".join(json.dumps(tool.as_function(), ensure_ascii=False) for tool in protocol.tools)
    calls = "\n".join(
        f"To {tool.purpose}, write the call as JSON:\n<tool_call>\n"
        f"{json.dumps(call_object(ToolCall(tool.name, tool.examples[-1])), ensure_ascii=False)}\n</tool_call>"
        for tool in protocol.tools
    )
    tag, answer = protocol.result_tag, protocol.form(Answer("answer"))
    return (
        "You answer questions by searching. Think between <think> and </think> before you act.\n\n"
        f"# Tools\n\n<tools>\n{schemas}\n</tools>\n\n{calls}\n"
        f"The results come between <{tag}> and </{tag}>. When you know enough, write "
        f"{answer}, short and without explanation."
    )


def without_tools(protocol: TextProtocol) -> str:
    """The system message where nothing can be called: how to answer."""
    answer = protocol.form(Answer("answer"))
    return (
        "You answer questions. Think between <think> and </think> first, then write "
        f"{answer}, short and without explanation."
    )


def question_alone(protocol: TextProtocol) -> str:
    """The user message: the question."""
    return "{question}"


TOOL_CALL = TextProtocol(
    name="tool_call",
    grammar=Blocks(JsonForm(), "tool_response"),
    system=instructions,
    user=question_alone,
    render=numbered,
    result_tag="tool_response",
    reply_role="user",
)
