"""Text that others write costs time that grows as its length does, whatever it repeats."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from igpo_gym.agents.rollouts.transcripts.actions import action
from igpo_gym.agents.rollouts.transcripts.dialects import first_reply
from igpo_gym.agents.rollouts.transcripts.messages import chatml
from igpo_gym.agents.rollouts.transcripts.replies import results
from igpo_gym.agents.rollouts.transcripts.search_o1 import SEARCH_O1
from igpo_gym.agents.rollouts.transcripts.search_r1 import SEARCH_R1, act
from igpo_gym.agents.rollouts.transcripts.tool_text import responses
from igpo_gym.data.metrics import normalize
from igpo_gym.data.reading import GatheredPassages
from igpo_gym.data.wording import wording
from igpo_gym.envs.candidates import names_in
from igpo_gym.episode import ToolCall
from igpo_gym.protocols import TAGS, TOOL_CALL
from igpo_gym.protocols.calls_in_text import calls_in
from igpo_gym.text import cut_at_sentence, neutralize, without_credentials
from igpo_gym.words import words

READERS: dict[str, Callable[[str], object]] = {
    "names": names_in,
    "words": words,
    "normal form": normalize,
    "wording": wording,
    "neutralized": neutralize,
    "without credentials": without_credentials,
    "cut": lambda text: cut_at_sentence(text, len(text) - 1),
    "tags": TAGS.parse,
    "tool call": lambda text: TOOL_CALL.parse(f"<tool_call>{text}</tool_call>"),
}
TRANSCRIPTS: dict[str, Callable[[str], object]] = {
    "action": action,
    "search-r1": act,
    "search-r1 turns": lambda text: refused(SEARCH_R1.turns, text),
    "search-o1 turns": lambda text: refused(SEARCH_O1.turns, text),
    "reply": lambda text: results([CALL], [text], GatheredPassages()),
    "wrapped reply": lambda text: results([CALL], [f"<a>{text}b</a>"], GatheredPassages()),
    "call": lambda text: action(f"<tool_call>{text}</tool_call>"),
    "responses": responses,
    "dialects": first_reply,
    "calls": lambda text: refused(calls_in, text),
    "chatml": chatml,
    "chatml's roles": lambda text: chatml(f"<|im_start|>{text}"),
}
CALL = ToolCall("search", {"query": "a"})
LETTERS = ("a", "A ", "The ", "Tin of ", "A'", ".' ", "\\")
MARKS = ("x://a:b", "://@", "<", "<search>", "</think>", '{"a":')
BLOCKS = (
    *(
        "<think>",
        "</think>",
        "<think>a</think>",
        "<tool_call>",
        "<search>",
        "</search>",
        "<open><search>",
        "<code>",
    ),
    *(
        "<answer>",
        "\\boxed{",
        "<function=",
        "<function=a>",
        "<parameter=a",
        "<parameter=a>",
        "<a>",
        " ",
        "\n",
    ),
    *(
        "<tool_response>",
        "Doc 1(Title: ",
        "Doc 1(Title: \n",
        "(1)Title: \n",
        "(1)Title: Text: ",
        "(1)",
        "(1)\n",
    ),
    *(
        "1. [",
        "1. [\n",
        "1. [](",
        "](",
        '\n\n"',
        '\n\n"a"\n',
        "\n=======\n",
        '"',
        "a   ",
        "\n<information>\n",
    ),
    *(
        "<|im_start|>",
        "</tool_call><tool_response>",
        "</search><information>",
        "</search> <result>",
        "</search><documents>",
        "</search> \n",
        "<|end_search_query|><|begin_search_result|>",
        "</tool_call> ",
    ),
    *("<|end_of_query|>\n<|begin_of_documents|>", "</information>", "</information>x", "</result>", "user\n"),
    *("My previous action is invalid. If I want to search", "\n<information>\nInvalid message: "),
)
CALLS = (
    *("<|tool_call_begin|>", "<|tool_call_begin|>a:0<|tool_call_argument_begin|>", "<｜tool▁call▁begin｜>"),
    *("<｜tool▁call▁begin｜>a<｜tool▁sep｜>", "<TOOLCALL>", "<TOOLCALL>{", "[TOOL_CALLS]", "[TOOL_CALLS]a"),
    *("[TOOL_CALLS]a[ARGS]{}", "<|python_tag|>", "<|python_tag|>{}", "<|channel|>", "to=a", "to="),
    *("to=a<|channel|>", "to=a<|message|>", "to=a<|message|>{}", "<|channel|>analysis<|message|>", "[THINK]"),
    *(
        '<invoke name="a">',
        '<invoke name="',
        '<invoke name="a"><parameter name="a">',
        "<tool_call>a<arg_key>",
    ),
    *("\nAction:", "\nAction: a[", "\nAction: a\nAction Input:", "\nObservation:", "\nFinal Answer:"),
    *('{"name":"a","arguments":{}};', '[{"name":"a","arguments":{}},', '{"arguments":{"a":', "<tool_call>{}"),
    *('<tool_call>{"name":"a"}', "<function=a>{", "<function=a></function>"),
    *(
        "<tool_calls>",
        "<tool_calls>{}",
        "<|START_ACTION|>[",
        "<|tool_call|>",
        "<|tool_call|>[",
        "functools[{",
        "functools[",
    ),
    *(
        "<|function_call|>{",
        "function call",
        "<|tools_prefix|>[",
        "<|action_start|>",
        "<|action_start|><|plugin|>",
    ),
    *(
        "<|tool_call_start|>[a(b=1)]",
        "<|tool_call_start|>",
        "<function_calls>a()",
        "<|python_start|>[a(b=1)]",
        "[a(b=",
    ),
    *("```tool_code\n", "```tool_code\na()```", "```\n[", "```json\n{}\n```", "[a(b=1), ", "<|python_end|>"),
    *(
        "<|tool_call>call:a{",
        '<|tool_call>call:a{b:<|"|>',
        "<|tool_call>call:a{b:1}<tool_call|>",
        "<escape>a",
    ),
    *(
        "<start_function_call>call:a{b:<escape>",
        '<|open|>call tool="a"<|sep|>',
        '<|open|>argument key="a" type="b"<|sep|>',
    ),
    *(
        '<function name="a">',
        '<function name="a"><param name="b">',
        "<|tool_call:start|>a",
        "<|tool_arg:start|>a",
    ),
    *("<seed:think>", "</seed:think>", "<|START_THINKING|>", "<|channel>thought", "<|START_RESPONSE|>"),
)
LENGTH, TIMES = 2_000, 16


def refused(read: Callable[[str], object], text: str) -> None:
    """Read a text of which it may be unknown who wrote what."""
    with suppress(ValueError):
        read(text)


def seconds(read: Callable[[str], object], text: str) -> float:
    """The CPU time of a reading: the least of three."""
    took = []
    for _ in range(3):
        start = time.process_time()
        read(text)
        took.append(time.process_time() - start)
    return min(took)


def check(read: Callable[[str], object], repeated: str) -> None:
    """A text that is so many times as long takes about so many times as long to read."""
    short = repeated * (LENGTH // len(repeated))
    before = max(seconds(read, short), 1e-3)  # below that a clock tells little
    assert seconds(read, short * TIMES) < 6 * TIMES * before, repeated  # the square is 16 times


@pytest.mark.parametrize("sign", CALLS)
def test_calls_are_read_in_time_that_grows_as_they_do(sign: str) -> None:
    check(TRANSCRIPTS["action"], sign)


@pytest.mark.parametrize("reader", TRANSCRIPTS)
def test_transcripts_are_read_in_time_that_grows_as_they_do(reader: str) -> None:
    for repeated in BLOCKS:
        check(TRANSCRIPTS[reader], repeated)


@pytest.mark.parametrize("reader", READERS)
def test_time_grows_as_the_text_does(reader: str) -> None:
    for repeated in LETTERS + MARKS:
        check(READERS[reader], repeated)
