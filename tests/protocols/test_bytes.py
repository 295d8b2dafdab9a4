"""The very bytes of ``tags`` and ``tool_call`` with ``search``: what the bundled model was trained on.

The lines are as long as the texts that they pin.
"""

# ruff: noqa: E501

from __future__ import annotations

from igpo_gym.episode import Answer, Passage, Question, ToolResult
from igpo_gym.protocols import TAGS, TOOL_CALL, TextProtocol
from igpo_gym.tools import search_call

QUESTION = Question("1", "Who wrote <b> it?", ("gold",))
FOUND = ToolResult(passages=((Passage("1", "A", "one <x>"), Passage("2", "B", "two")),))


def replies(protocol: TextProtocol) -> list[str]:
    call = search_call("q").calls[0]
    shown = [protocol.results([(call, result)])[0] for result in (FOUND, ToolResult(passages=((),)))]
    down = protocol.results([(call, ToolResult(failed=True))])[0]
    return [protocol.reply_text(body) for body in (*shown, down, protocol.invalid("why"))]


def test_tags() -> None:
    assert [(segment.role, segment.text) for segment in TAGS.prompt(QUESTION)] == [
        (
            "user",
            "Answer the question. Think between <think> and </think>, then search with <search>query</search>; "
            "the results come between <information> and </information>. When you know enough, write "
            "<answer>\nanswer\n</answer> and nothing else.\n\nQuestion: Who wrote ‹b> it?\n",
        )
    ]
    assert replies(TAGS) == [
        "\n<information>\nDoc 1(Title: A) one ‹x>\nDoc 2(Title: B) two\n</information>\n",
        "\n<information>\nNo passage was found.\n</information>\n",
        "\n<information>\nSearch is unavailable at the moment. Try again, or answer with what you know.\n"
        "</information>\n",
        "\n<information>\nInvalid message: why. Write <search>query</search> to search or "
        "<answer>\nanswer\n</answer> to answer.\n</information>\n",
    ]
    assert (
        TAGS.write(search_call("a < b", "c"), "hm")
        == "<think>hm</think><search>a ‹ b</search><search>c</search>"
    )
    assert TAGS.write(Answer("x")) == "<answer>\nx\n</answer>"
    assert TAGS.stops == ("</search>", "</answer>")
    assert TAGS.reply("")[0].role == "assistant"


def test_tool_call() -> None:
    assert [(segment.role, segment.text) for segment in TOOL_CALL.prompt(QUESTION)] == [
        (
            "system",
            "You answer questions by searching. Think between <think> and </think> before you act.\n\n# Tools\n\n"
            '<tools>\n{"type": "function", "function": {"name": "search", "description": "Search for passages.", '
            '"parameters": {"type": "object", "properties": {"query": {"description": "One query, or a list of '
            'queries.", "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}}, '
            '"required": ["query"]}}}\n</tools>\n\nTo search, write the call as JSON:\n<tool_call>\n'
            '{"name": "search", "arguments": {"query": ["first query", "second query"]}}\n</tool_call>\n'
            "The results come between <tool_response> and </tool_response>. When you know enough, write "
            "<answer>\nanswer\n</answer>, short and without explanation.",
        ),
        ("user", "Who wrote ‹b> it?"),
    ]
    assert replies(TOOL_CALL) == [
        "<tool_response>\nDoc 1(Title: A) one ‹x>\nDoc 2(Title: B) two\n</tool_response>\n",
        "<tool_response>\nNo passage was found.\n</tool_response>\n",
        "<tool_response>\nSearch is unavailable at the moment. Try again, or answer with what you know.\n"
        "</tool_response>\n",
        '<tool_response>\nInvalid message: why. Write <tool_call>{"name": "search", "arguments": {"query": '
        '"query"}}</tool_call> to search or <answer>\nanswer\n</answer> to answer.\n</tool_response>\n',
    ]
    assert TOOL_CALL.write(search_call("a < b", "c"), "hm") == (
        '<think>hm</think><tool_call>{"name": "search", "arguments": {"query": ["a ‹ b", "c"]}}</tool_call>'
    )
    assert TOOL_CALL.reply("")[0].role == "user"
