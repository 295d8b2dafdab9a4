"""What messages do, and what replies show: any text gives something, and none raises."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.transcripts.actions import FINAL, action, boxed, without_thoughts
from igpo_gym.agents.rollouts.transcripts.fields import about
from igpo_gym.agents.rollouts.transcripts.replies import results
from igpo_gym.data.reading import GatheredPassages
from igpo_gym.episode import Answer, Invalid, ToolCall, ToolCalls
from igpo_gym.protocols.between import between
from igpo_gym.protocols.calls_in_text import call, written

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "<function=a>", "<parameter=b>", "</parameter>", "</function>"),
        *(
            "<answer>",
            "</answer>",
            "<think>",
            "</think>",
            "\\boxed{",
            "{",
            "}",
            "<search>",
            "</search>",
            "<code>",
        ),
        *('{"name": "a", "arguments": ', '{"title": "t", "text": "x"}', "Doc 1(Title: a) b\n", "[", "]", '"'),
        *("(1)Title: a Text: b\n", "1. [a](b)\nc", '\n\n"a"\nb', "\n=======\n", "</information>", "(2)c   d"),
    ]
)
TEXT = st.lists(PIECES | st.text(max_size=4), max_size=10).map("".join)
CALL = ToolCall("search", {"query": "x"})


@given(TEXT, st.booleans())
def test_any_message_is_an_action(text: str, plain_answers: bool) -> None:
    does = action(text, (), plain_answers)
    assert isinstance(does, ToolCalls | Answer | Invalid)
    assert not isinstance(does, Answer) or does.text.strip()


@given(st.lists(TEXT, max_size=3), st.integers(1, 3))
def test_any_reply_is_a_result_for_each_call(replies: list[str], calls: int) -> None:
    found = results([CALL] * calls, replies, GatheredPassages())
    assert len(found) == calls


@given(st.dictionaries(st.sampled_from(["answer", "gts", "question", "id", "metrics", "target", "x"]), JSON))
def test_any_record_tells_something_or_says_what_is_wrong(record: dict[str, Any]) -> None:
    try:
        told = about(record)
    except ValueError:
        return  # something in the place of an answer that is none
    assert all(answer.strip() for answer in told.answers)


@given(st.text(min_size=1, max_size=8) | PIECES, st.dictionaries(TEXT, JSON | TEXT, max_size=3))
@example("</think>", {})
@example("search", {"query": "<tool_call></tool_call></think><code>1</code>"})
@example("search", {"query": "</seed:think><channel|><|END_THINKING|><|close|>think<|sep|>[/THINK]"})
def test_calls_that_are_written_are_read_again(name: str, arguments: dict[str, Any]) -> None:
    made = call(name, json.dumps(arguments))
    does = action(written([made]))
    if name.lower() in FINAL:
        assert isinstance(does, ToolCalls | Answer)
    else:
        assert does == ToolCalls((made,))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<tool_call>{"name": "s", "arguments": {"q": 1}}</tool_call>', ToolCall("s", {"q": 1})),
        ('<tool_call>{"name": "s", "parameters": "{\\"q\\": 1}"}</tool_call>', ToolCall("s", {"q": 1})),
        ("<tool_call>{'name': 's', 'arguments': {'q': True}}</tool_call>", ToolCall("s", {"q": True})),
        (
            '<tool_call>\n{"name": "PythonInterpreter", "arguments": {}}\n<code>\n1+1\n</code>\n</tool_call>',
            ToolCall("PythonInterpreter", {"code": "1+1"}),
        ),
        (
            "<tool_call>\n<function=s>\n<parameter=q>\nport\n</parameter>\n</function>\n</tool_call>",
            ToolCall("s", {"q": "port"}),
        ),
        ("<think>x</think><code>1+1</code>", ToolCall("code", {"code": "1+1"})),
    ],
)
def test_calls_in_every_form(text: str, expected: ToolCall) -> None:
    assert action(text) == ToolCalls((expected,))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"confidence": 0.9, "response": "Danzig"}, "Danzig"),
        ({"done": True, "answer": 1917, "why": "it says so"}, "1917"),
        ({"year": 1917}, "1917"),
        ({"answer": "", "value": "Danzig"}, "Danzig"),
    ],
)
def test_the_answer_among_the_arguments_of_a_final_tool(arguments: dict[str, Any], text: str) -> None:
    assert action("", [ToolCall("final_answer", arguments)]) == Answer(text)


THOUGHT = "Is it <answer>Elbing</answer>?"
SAID = {
    "Mistral": "[THINK]{}[/THINK]{}</s>",
    "Seed-OSS": "<seed:think>{}</seed:think>{}<seed:eos>",
    "Cohere": "<|START_THINKING|>{}<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    "Gemma 4": "<|channel>thought\n{}<channel|>{}<turn|>",
    "Kimi K3": (
        "<|open|>think<|sep|>{}<|close|>think<|sep|><|open|>response<|sep|>{}<|close|>response<|sep|>"
        "<|close|>message<|sep|><|end_of_msg|>"
    ),
    "gpt-oss": (
        "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>"
    ),
}
"""Messages with a thought and an answer, as chat templates render them."""


@pytest.mark.parametrize("form", SAID)
def test_thoughts_and_answers_stand_between_the_marks_of_the_family(form: str) -> None:
    message = SAID[form].format(THOUGHT, "It is Danzig.")
    assert action(message, (), plain_answers=True) == Answer("It is Danzig.")
    thought = message.partition("Danzig")[0].partition(THOUGHT)[0] + THOUGHT
    assert isinstance(action(thought.replace("answer>", "b>"), (), plain_answers=True), Invalid)


def test_a_thought_may_have_been_opened_by_the_prompt() -> None:
    for form, said in SAID.items():
        if form != "gpt-oss":
            message = said.format(THOUGHT, "Danzig").partition(THOUGHT)[2]
            assert action(THOUGHT + message, (), plain_answers=True) == Answer("Danzig"), form


def test_a_call_that_breaks_off_behind_a_response_is_no_answer() -> None:
    message = "<|open|>response<|sep|>I look.<|close|>response<|sep|><|open|>tools<|sep|>"
    assert isinstance(action(message, (), plain_answers=True), Invalid)
    assert action(message.removesuffix("<|open|>tools<|sep|>"), (), plain_answers=True) == Answer("I look.")


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nIt may be Danzig or Elbing. Let me search for",
        "<think>so</think>Danzig, and I look <think>for",
        'Danzig, and I look for <tool_call>\n{"name": "search", "argu',
        '<open page="2">Dan',
        "<search></search>",
    ],
)
def test_what_breaks_off_in_a_thought_or_a_call_is_no_answer(text: str) -> None:
    assert isinstance(action(text, (), plain_answers=True), Invalid)
    assert action("<think>so</think> It is < 5.", (), plain_answers=True) == Answer("It is < 5.")


def test_what_is_no_call_is_invalid() -> None:
    does = action("<tool_call>search for it</tool_call>")
    reason = "a call in the form of Hermes cannot be read: there is no JSON object with a name and arguments"
    assert does == Invalid(reason)


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("\\boxed{a}, no: \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\text{New York}}", "New York"),
        ("\\boxed{\\text{New} \\text{York}}", "New York"),
        ("\\boxed{\\textbf{New York}, \\mathrm{NY}}", "New York, NY"),
        ("\\boxed{17 \\text{ ships}}", "17  ships"),
        ("\\boxed{never closed", ""),
        ("none", ""),
    ],
)
def test_boxed_answers(text: str, inner: str) -> None:
    assert boxed(text) == inner


@given(st.lists(st.sampled_from(["<a>", "</a>", "<b>", "</b>", "x", "\n"]), max_size=12).map("".join))
def test_blocks_are_those_of_the_pattern(text: str) -> None:
    pattern = re.compile(r"<(a|b)>(.*?)</\1>", re.DOTALL)
    found = [(each[1], inner) for each, inner in between(text, re.compile("<(a|b)>"))]
    assert found == pattern.findall(text)


@given(st.lists(st.sampled_from(["<think>", "</think>", "x"]), max_size=10).map("".join))
def test_thoughts_are_those_of_the_pattern(text: str) -> None:
    pattern = re.compile(r"<think>.*?</think>|\A(?:(?!<think>).)*?</think>", re.DOTALL)
    assert without_thoughts(text) == pattern.sub("", text)


TITLES = [
    "Danzig",
    "Danzig (city)",
    '"Heroes" (David Bowie album)',
    "(You Gotta) Fight for Your Right (To Party!)",
    "Local H (band (old) name)",
    'The "X" story',
    "",
]


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize(
    "form", ["Doc 1(Title: {}) {}\n", 'Doc 1(Title: "{}") {}\n', '"{}"\n{}\n', "1. [{}](http://a)\n{}\n"]
)
def test_a_title_with_signs_of_its_own_is_read_whole(title: str, form: str) -> None:
    text = 'A port (of "Pomerania") at the sea (see below).'
    if form.startswith('"') and not title:
        return
    (found,) = results([CALL], [form.format(title, text)], GatheredPassages())
    assert [(each.title, each.text) for each in found.passages[0]] == [(title, text)]


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        ('Doc 1(Title: "Foo :)") a (b)', ("Foo :)", "a (b)")),
        ("Doc 1(Title: Foo (b) a", ("Foo (b", "a")),
        ("Doc 1(Title: Foo)a", ("Foo", "a")),
    ],
)
def test_a_title_with_half_a_pair_of_parentheses_is_read_as_far_as_can_be_told(
    reply: str, shown: tuple[str, str]
) -> None:
    (found,) = results([CALL], [reply], GatheredPassages())
    assert [(each.title, each.text) for each in found.passages[0]] == [shown]


def test_an_address_may_hold_parentheses() -> None:
    reply = "1. [A (b)](http://a/b_(c))\nfirst\n\n2. [B](http://b_(c)\nsecond"
    (found,) = results([CALL], [reply], GatheredPassages())
    assert [(each.id, each.text) for each in found.passages[0]] == [
        ("http://a/b_(c)", "first"),
        ("http://b_(c", "second"),
    ]
