"""``tags``: the Search-R1 form. A tag for each tool, and everything after the prompt is one agent message."""

from __future__ import annotations

from igpo_gym.episode import Answer, ToolCall, ToolCalls
from igpo_gym.protocols.blocks import Blocks, TagForm
from igpo_gym.protocols.numbered import numbered
from igpo_gym.protocols.protocol import TextProtocol


def no_system(protocol: TextProtocol) -> str:
    """No system message."""
    return ""


def instructions(protocol: TextProtocol) -> str:
    """The user message: how to think, to call each tool and to answer, then the question."""
    calls = " or ".join(
        f"{tool.purpose} with {protocol.form(ToolCalls((ToolCall(tool.name, tool.example),)))}"
        for tool in protocol.tools
    )
    tag, answer = protocol.result_tag, protocol.form(Answer("answer"))
    use = f", then {calls}; the results come between <{tag}> and </{tag}>" if calls else ""
    return (
        f"Answer the question. Think between <think> and </think>{use}. "
        f"When you know enough, write {answer} and nothing else.\n\n"
        "Question: {question}\n"
    )


TAGS = TextProtocol(
    name="tags",
    grammar=Blocks(TagForm(), "information"),
    system=no_system,
    user=instructions,
    render=numbered,
    result_tag="information",
    reply_role="assistant",
)
