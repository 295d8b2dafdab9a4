"""Calls in the text of a message, in the forms in which chat templates and tokenizers of the families write
them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.episode import ToolCall
from igpo_gym.protocols.calls_in_text import begins_call, calls_in
from igpo_gym.protocols.messages import said

ARGUMENTS = {"query": 'port & <b>\n"Danzig"', "top_k": 3}
JSON = json.dumps(ARGUMENTS, ensure_ascii=False)
CALL = ToolCall("search", ARGUMENTS)
TEXTS = ToolCall("search", {"query": 'port & <b>\n"Danzig"', "top_k": "3"})
"""The same where a form does not tell numbers from texts."""
NAMED = f'{{"name": "search", "arguments": {JSON}}}'


XML_VALUE = 'port & <b>\n"Danzig"'
DSML = (
    '<｜DSML｜invoke name="search">\n'
    f'<｜DSML｜parameter name="query" string="true">{XML_VALUE}</｜DSML｜parameter>\n'
    '<｜DSML｜parameter name="top_k" string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
)
INVOKE = (
    f'<invoke name="search">\n<parameter name="query">{XML_VALUE}</parameter>\n'
    '<parameter name="top_k">3</parameter>\n</invoke>\n'
)
FUNCTION = (
    f"<function=search>\n<parameter=query>\n{XML_VALUE}\n</parameter>\n"
    "<parameter=top_k>\n3\n</parameter>\n</function>\n"
)

WRITTEN: dict[str, tuple[str, list[ToolCall]]] = {
    # moonshotai/Kimi-K2-Instruct
    "Kimi K2": (
        "So:<|tool_calls_section_begin|>"
        + "".join(
            f"<|tool_call_begin|>functions.search:{number}<|tool_call_argument_begin|>{JSON}<|tool_call_end|>"
            for number in range(2)
        )
        + "<|tool_calls_section_end|><|im_end|>",
        [CALL, CALL],
    ),
    # deepseek-ai/DeepSeek-V3, DeepSeek-R1
    "DeepSeek V3": (
        "So:<｜tool▁calls▁begin｜>"
        + "\n".join(
            [f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>search\n```json\n{JSON}\n```<｜tool▁call▁end｜>"]
            * 2
        )
        + "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
        [CALL, CALL],
    ),
    # vLLM's template for DeepSeek-R1, which writes arguments that are a text as the JSON of it
    "DeepSeek R1, arguments as a text": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>search\n"
        f"```json\n{json.dumps(JSON)}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        [CALL],
    ),
    # deepseek-ai/DeepSeek-V3.1
    "DeepSeek V3.1": (
        "So:<｜tool▁calls▁begin｜>"
        + f"<｜tool▁call▁begin｜>search<｜tool▁sep｜>{JSON}<｜tool▁call▁end｜>" * 2
        + "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
        [CALL, CALL],
    ),
    # deepseek-ai/DeepSeek-V3.2
    "DeepSeek V3.2": (f"So:\n\n<｜DSML｜function_calls>\n{DSML}</｜DSML｜function_calls>", [CALL]),
    # MiniMaxAI/MiniMax-M2
    "MiniMax M2": (f"So:\n<minimax:tool_call>\n{INVOKE}</minimax:tool_call>[e~[\n", [TEXTS]),
    # nvidia/NVIDIA-Nemotron-Nano-9B-v2
    "Nemotron": (f"So:\n\n<TOOLCALL>[{NAMED}, {NAMED}]</TOOLCALL>\n<SPECIAL_12>\n\n", [CALL, CALL]),
    # nvidia/NVIDIA-Nemotron-3-Nano, Qwen/Qwen3-Coder
    "Qwen3-Coder": (
        f"So:\n<tool_call>\n{FUNCTION}</tool_call>\n<tool_call>\n{FUNCTION}</tool_call>",
        [TEXTS] * 2,
    ),
    "Qwen3-Coder without tags around": (FUNCTION, [TEXTS]),
    # meta-llama/Llama-3.1: custom tools as its documentation has them, and the chat template's
    "Llama's function tag": (f"<function=search>{JSON}</function><|eom_id|>", [CALL]),
    "Llama": (f'{{"name": "search", "parameters": {JSON}}}<|eot_id|>', [CALL]),
    "Llama, two": (
        f'<|python_tag|>{{"name": "search", "parameters": {JSON}}}; '
        f'{{"type": "function", "function": "search", "parameters": {JSON}}}<|eom_id|>',
        [CALL, CALL],
    ),
    "Llama's own tool": (
        '<|python_tag|>brave_search.call(query="port, Danzig")<|eom_id|>',
        [ToolCall("brave_search", {"query": "port, Danzig"})],
    ),
    "Llama's code": ("<|python_tag|>print(6 * 7)<|eom_id|>", [ToolCall("python", {"code": "print(6 * 7)"})]),
    # mistral_common's tokenizers: v2 to v7, v11 with an id, v13; and decoded without all tokens but the first
    "Mistral v3": (f'So:[TOOL_CALLS][{NAMED[:-1]}, "id": "9Ae3bDc2F"}}]</s>', [CALL]),
    "Mistral v11": (
        f"So:{f'[TOOL_CALLS]search[CALL_ID]9Ae3bDc2F[ARGS]{JSON}' * 2}</s>",
        [CALL, CALL],
    ),
    "Mistral v13": (f"[TOOL_CALLS]search[ARGS]{JSON}[TOOL_CALLS]search[ARGS]{JSON}</s>", [CALL, CALL]),
    "Mistral, decoded": (f"[TOOL_CALLS]search{JSON}", [CALL]),
    # zai-org/GLM-4.5, and GLM-4.7, which writes no line ends
    "GLM": (
        "So:\n<tool_call>search\n<arg_key>query</arg_key>\n"
        '<arg_value>port & <b>\n"Danzig"</arg_value>\n'
        "<arg_key>top_k</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
        [TEXTS],
    ),
    "GLM 4.7": (
        "<tool_call>search<arg_key>query</arg_key><arg_value>port</arg_value></tool_call>",
        [ToolCall("search", {"query": "port"})],
    ),
    # Qwen/Qwen2.5, NousResearch/Hermes
    "Hermes": (f"So:\n<tool_call>\n{NAMED}\n</tool_call>\n<tool_call>\n{NAMED}\n</tool_call>", [CALL, CALL]),
    "Hermes, sampling stopped at the closing": (f"So:\n<tool_call>\n{NAMED}\n", [CALL]),
    # openai/gpt-oss: what it samples, what its template writes, and a tool of its own
    "gpt-oss": (
        "<|channel|>analysis<|message|>So:<|end|><|start|>assistant"
        f"<|channel|>commentary to=functions.search <|constrain|>json<|message|>{JSON}<|call|>",
        [CALL],
    ),
    "gpt-oss, template": (
        f"<|start|>assistant to=functions.search<|channel|>commentary json<|message|>{JSON}<|call|>",
        [CALL],
    ),
    "gpt-oss, browser": (
        '<|channel|>analysis to=browser.search code<|message|>{"query": "port"}',
        [ToolCall("browser.search", {"query": "port"})],
    ),
    "gpt-oss, python": (
        "<|channel|>analysis to=python code<|message|>print(6 * 7)<|call|>",
        [ToolCall("python", {"code": "print(6 * 7)"})],
    ),
    # ReAct (arXiv 2210.03629), and LangChain's agents
    "ReAct": (
        "Thought 1: Where?\nAction 1: Search[Danzig (city) [old]]\nObservation 1: mine\nAction 2: Search[b]",
        [ToolCall("Search", {"query": "Danzig (city) [old]"})],
    ),
    "ReAct, input": (
        "Thought: Where?\nAction: Web Lookup\nAction Input: port\nof Danzig\nObservation: mine",
        [ToolCall("Web Lookup", {"arguments": "port\nof Danzig"})],
    ),
    "ReAct, input in JSON": (f"Thought: Where?\n\nAction: search\nAction Input: {JSON}\n", [CALL]),
    "ReAct, JSON": (
        f'Action:\n```json\n{{\n"action": "search",\n"action_input": {JSON}\n}}\n```\nObservation: mine',
        [CALL],
    ),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_calls_are_read_in_every_form(form: str) -> None:
    text, calls = WRITTEN[form]
    assert calls_in(text) == calls


@pytest.mark.parametrize("form", [form for form in WRITTEN if form != "Llama"])
def test_what_is_cut_off_is_a_call_that_was_begun(form: str) -> None:
    text, calls = WRITTEN[form]
    begun = [place for place in range(len(text)) if begins_call(text[:place])]
    assert begun == list(range(begun[0], len(text)))
    for place in begun:
        try:
            found = calls_in(text[:place])
        except ValueError:
            continue
        # Of JSON nothing is read before it is whole; what has no end of its own, a query or code, may be cut.
        open_ended = form.startswith(("ReAct", "Llama's"))
        assert open_ended or found == calls[: len(found)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "<tool_call>search for it</tool_call>",
            "Hermes cannot be read: there is no JSON object with a name",
        ),
        ('<TOOLCALL>[{"name": "search", </TOOLCALL>', "Nemotron"),
        ("<|tool_call_begin|>search:0<|tool_call_argument_begin|>{port}<|tool_call_end|>", "Kimi K2"),
        ("<|tool_call_begin|>functions.:0<|tool_call_argument_begin|>{}<|tool_call_end|>", "names no tool"),
        (
            "<｜tool▁call▁begin｜>search<｜tool▁sep｜>[1]<｜tool▁call▁end｜>",
            "the arguments are no JSON object",
        ),
        ('[TOOL_CALLS]search[ARGS]{"query": "Dan', "Mistral"),
        ("[TOOL_CALLS] I search for it", "Mistral"),
        ('<|python_tag|>{"name": "search", "parameters": {', "Llama"),
        ("<|channel|>commentary to=functions.search json<|message|>port<|call|>", "gpt-oss"),
        (
            '<｜DSML｜invoke name="a"><｜DSML｜parameter name="b" string="false">x y</｜DSML｜parameter>'
            "</｜DSML｜invoke>",
            "a parameter that is no text is no JSON",
        ),
    ],
)
def test_a_malformed_call_is_refused_with_its_form(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        calls_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "It is < 5, see [1].",
        '{"name": "Danzig", "country": "Poland"}',
        '[{"name": "Danzig"}]',
        f"{NAMED} is how a call is written.",
        "Action: None\nI know it.",
        "An\nAction: [x]",
        "<|start|>functions.search to=assistant<|channel|>commentary<|message|>{}<|end|>",
        f"<tool_call>{NAMED} is how it begins",
    ],
)
def test_other_texts_hold_no_calls(text: str) -> None:
    assert calls_in(text) == []


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
SIGNS = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "<TOOLCALL>", "</TOOLCALL>", "<function=a>", "</function>"),
        *("<parameter=b>", "</parameter>", "<|tool_calls_section_begin|>", "<|tool_call_begin|>", "a:0"),
        *("<|tool_call_argument_begin|>", "<|tool_call_end|>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"),
        *(
            "<｜tool▁call▁end｜>",
            "\n```json\n",
            "```",
            "[TOOL_CALLS]",
            "[ARGS]",
            "[CALL_ID]",
            "<|python_tag|>",
        ),
        *("<|channel|>", "commentary to=functions.a ", "<|constrain|>json", "<|message|>", "<|call|>", "; "),
        *('<invoke name="a">', '<parameter name="b">', "</invoke>", "<arg_key>", "</arg_key>", "<arg_value>"),
        *("</arg_value>", "\nAction: ", "a[", "]", "\nAction Input: ", "\nObservation: ", "{", "}", "[", '"'),
        *('{"name": "a", "arguments": ', '{"a": 1}', ".call(a=", ")", "<|eot_id|>", "<code>", "</code>"),
    ]
)
SIGNED = st.lists(SIGNS | st.text(max_size=3), max_size=12).map("".join)


@given(SIGNED)
def test_any_text_holds_calls_or_is_refused(text: str) -> None:
    try:
        calls = calls_in(text)
    except ValueError:
        return
    assert all(isinstance(call, ToolCall) and call.tool for call in calls)


IN_JSON: dict[str, Callable[[str, str], str]] = {
    "Kimi K2": "<|tool_call_begin|>functions.{}:0<|tool_call_argument_begin|>{}<|tool_call_end|>".format,
    "DeepSeek V3": (
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{}\n```json\n{}\n```<｜tool▁call▁end｜>".format
    ),
    "DeepSeek V3.1": "<｜tool▁call▁begin｜>{}<｜tool▁sep｜>{}<｜tool▁call▁end｜>".format,
    "Nemotron": '<TOOLCALL>[{{"name": "{}", "arguments": {}}}]</TOOLCALL>'.format,
    "Hermes": '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>'.format,
    "Llama": '<|python_tag|>{{"name": "{}", "parameters": {}}}<|eom_id|>'.format,
    "Llama, plain": '{{"name": "{}", "parameters": {}}}'.format,
    "Mistral": "[TOOL_CALLS]{}[ARGS]{}</s>".format,
    "gpt-oss": "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>{}<|call|>".format,
    "Llama's function tag": "<function={}>{}</function>".format,
}


@given(
    st.from_regex(r"[A-Za-z_][\w-]{0,8}", fullmatch=True).filter(str.isascii),
    st.dictionaries(st.text(max_size=6), JSON_VALUES | SIGNED, max_size=3),
    st.booleans(),
)
def test_arguments_may_spell_any_sign(name: str, arguments: dict[str, Any], escaped: bool) -> None:
    for form, write in IN_JSON.items():
        text = write(name, json.dumps(arguments, ensure_ascii=escaped))
        assert calls_in(text) == [ToolCall(name, arguments)], form


@given(st.text(st.characters(exclude_characters="<>[{", exclude_categories=["Cs"])), SIGNS)
def test_a_parameter_is_the_text_between_its_tags(value: str, quoted: str) -> None:
    """No closing of its own form can stand in it; any other sign can."""
    if "arg" in quoted or "parameter" in quoted or "</" in quoted:
        quoted = ""
    value = f"x{value}{quoted}x"
    for text in (
        f"<tool_call>s\n<arg_key>q</arg_key>\n<arg_value>{value}</arg_value>\n</tool_call>",
        f"<tool_call>\n<function=s>\n<parameter=q>\n{value}\n</parameter>\n</function>\n</tool_call>",
        f'<invoke name="s">\n<parameter name="q">{value}</parameter>\n</invoke>',
    ):
        assert calls_in(text) == [ToolCall("s", {"q": value})]


def test_the_form_that_is_opened_first_is_read() -> None:
    quoting = (
        '<TOOLCALL>[{"name": "a", "arguments": {"b": "<tool_call>{}</tool_call> [TOOL_CALLS]"}}]</TOOLCALL>'
    )
    assert [call.tool for call in calls_in(quoting)] == ["a"]
    assert [call.tool for call in calls_in(f"<function=x> is a tag. {quoting}")] == ["a"]


@pytest.mark.parametrize("form", ["Kimi K2", "Mistral v13", "Hermes", "gpt-oss"])
def test_calls_beside_a_text_that_shows_them_are_not_written_again(form: str) -> None:
    text = WRITTEN[form][0]
    beside = [{"function": {"name": "search", "arguments": JSON}}]
    assert said({"role": "assistant", "content": text, "tool_calls": beside}).text == text
