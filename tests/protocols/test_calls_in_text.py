"""Calls in the text of a message, in the forms in which chat templates and tokenizers of the families write
them."""

from __future__ import annotations

import json
import keyword
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.transcripts.actions import action
from igpo_gym.episode import Invalid, ToolCall, ToolCalls
from igpo_gym.protocols.calls_in_text import begins_call, calls_in, ids_in
from igpo_gym.protocols.calls_in_text.python import calls_in_python
from igpo_gym.protocols.messages import said

ARGUMENTS = {"query": 'port & <b>\n"Danzig"', "top_k": 3}
JSON = json.dumps(ARGUMENTS, ensure_ascii=False)
CALL = ToolCall("search", ARGUMENTS)
TEXTS = ToolCall("search", {"query": 'port & <b>\n"Danzig"', "top_k": "3"})
"""The same where a form does not tell numbers from texts."""
NAMED = f'{{"name": "search", "arguments": {JSON}}}'
PYTHON = "search(query='port & <b>\\n\"Danzig\"', top_k=3)"
OTHER = ToolCall(
    "open_all",
    {"sites": ["a", "b"], "range": {"from": 1, "to": -2.5}, "exact": True, "cached": False, "year": None},
)
"""A call with values of all kinds."""


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
    # tencent/Hunyuan-A13B and ai21labs/Jamba, MiniMax-M1, tencent/Hy3: as vLLM's tests have them
    "Hunyuan A13B": (f"So: <tool_calls>[\n    {NAMED},\n    {NAMED}\n]</tool_calls>\n", [CALL, CALL]),
    "MiniMax M1": (f"So:<tool_calls>\n{NAMED}\n{NAMED}\n</tool_calls>", [CALL, CALL]),
    "Hunyuan 3": (
        "<tool_calls>\n<tool_call>search<tool_sep>\n<arg_key>query</arg_key>\n"
        f"<arg_value>{XML_VALUE}</arg_value>\n<arg_key>top_k</arg_key>\n<arg_value>3</arg_value>\n</tool_call>\n"
        "<tool_call>now<tool_sep>\n</tool_call>\n</tool_calls>",
        [TEXTS, ToolCall("now", {})],
    ),
    # CohereForAI/c4ai-command-r7b: what its template renders
    "Cohere": (
        '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "search", "parameters": '
        f'{JSON}}},\n    {{"tool_call_id": "1", "tool_name": "search", "parameters": {JSON}}}\n]'
        "<|END_ACTION|><|END_OF_TURN_TOKEN|>",
        [CALL, CALL],
    ),
    # ibm-granite: 3.0, 4.0 and 20b-functioncalling, as vLLM's tests have them
    "Granite 3": (f"So:\n<|tool_call|> [\n  {NAMED},\n  {NAMED}\n]\nI wait.", [CALL, CALL]),
    "Granite 4": (
        f"So:\n<tool_call> {NAMED} </tool_call> and <tool_call> {NAMED} </tool_call> I wait.",
        [CALL, CALL],
    ),
    "Granite 20B": (f"So:<function_call> {NAMED}\n<function_call> {NAMED}", [CALL, CALL]),
    # microsoft/Phi-4-mini: as vLLM's tests have it, and what its template renders
    "Phi-4-mini": (f"So:\nfunctools[\n  {NAMED},\n  {NAMED}\n]\nI wait.", [CALL, CALL]),
    "Phi-4-mini, template": (f"{f'<|tool_call|>{NAMED}<|/tool_call|>' * 2}<|end|>", [CALL, CALL]),
    # ai-sage/GigaChat3 and 3.1, meituan/LongCat, swiss-ai/Apertus: as vLLM's tests have them
    "GigaChat 3": (f"So:<|message_sep|>\n\nfunction call<|role_sep|>\n{NAMED}</s>", [CALL]),
    "GigaChat 3.1": (f"So:<|function_call|>{NAMED}</s>", [CALL]),
    "LongCat": (
        f"So:\n<longcat_tool_call>{NAMED}</longcat_tool_call>\n<longcat_tool_call>{NAMED}</longcat_tool_call>",
        [CALL, CALL],
    ),
    "Apertus": (
        f'So: <|tools_prefix|>[{{"search": {JSON}}}, {{"search": {JSON}}}]<|tools_suffix|>',
        [CALL, CALL],
    ),
    # internlm/internlm2-chat: its page on the chat format
    "InternLM": (
        f'So.<|action_start|><|plugin|>\n{{"name": "search", "parameters": {JSON}}}<|action_end|><|im_end|>',
        [CALL],
    ),
    "InternLM, code": (
        "So.\n\n<|action_start|><|interpreter|>\n```python\nprint(6 * 7)\n```<|action_end|>\n<|im_end|>",
        [ToolCall("python", {"code": "print(6 * 7)"})],
    ),
    # LiquidAI/LFM2.5: what its template renders, with line ends within a text; the prompt may ask for JSON
    "LFM2": (
        "<|tool_call_start|>[search(query='port & <b>\n\"Danzig\"', top_k=3), "
        "open_all(sites=['a', 'b'], range={\"from\": 1, \"to\": -2.5}, exact=True, cached=False, year=None)]"
        "<|tool_call_end|>I look.<|im_end|>",
        [CALL, OTHER],
    ),
    "LFM2, JSON": (f"<|tool_call_start|>[{NAMED}]<|tool_call_end|>", [CALL]),
    # allenai/Olmo-3, meta-llama/Llama-4 and Llama-3.2: as vLLM's tests have them
    "OLMo 3": (
        f"So:<function_calls>{PYTHON}\nopen_all(sites=['a', 'b'], range={{'from': 1, 'to': -2.5}}, "
        "exact=true, cached=false, year=null)</function_calls>",
        [CALL, OTHER],
    ),
    "Llama 4": (
        f"<|python_start|>[{PYTHON}, grocery.order(n=1)]<|python_end|>",
        [CALL, ToolCall("grocery.order", {"n": 1})],
    ),
    "Llama 4, not closed": (f"<|python_start|>[{PYTHON}]<|eom|>", [CALL]),
    "Llama 3.2": (f"[{PYTHON}, now()]<|eot_id|>", [CALL, ToolCall("now", {})]),
    "Python's escapes": (
        r"[search(query='Martha\'s Vineyard \d', near='\"cool units\"')]",
        [ToolCall("search", {"query": r"Martha's Vineyard \d", "near": '"cool units"'})],
    ),
    # google/gemma: 3 as its users prompt it, 4 as its template renders, functiongemma as vLLM's tests have it
    "Gemma 3": (f"So:\n```tool_code\nprint(default_api.{PYTHON})\n```", [CALL]),
    "Gemma 3's code": ("```tool_code\nx = 6 * 7\n```", [ToolCall("python", {"code": "x = 6 * 7"})]),
    "Gemma 4": (
        f'<|tool_call>call:search{{query:<|"|>{XML_VALUE}<|"|>,top_k:3}}<tool_call|>'
        '<|tool_call>call:open_all{cached:false,exact:true,range:{from:1,to:-2.5},sites:[<|"|>a<|"|>,<|"|>b<|"|>],'
        "year:None}<tool_call|><turn|>\n",
        [CALL, OTHER],
    ),
    "FunctionGemma": (
        f"So:<start_function_call>call:search{{query:<escape>{XML_VALUE}<escape>,top_k:3}}<end_function_call>"
        "<start_function_call>call:now{}<end_function_call><start_function_response>",
        [CALL, ToolCall("now", {})],
    ),
    # moonshotai/Kimi-K3: what its template renders
    "Kimi K3": (
        '<|open|>tools<|sep|><|open|>call tool="search" index="1"<|sep|>'
        f'<|open|>argument key="query" type="string"<|sep|>{XML_VALUE}<|close|>argument<|sep|>'
        '<|open|>argument key="top_k" type="number"<|sep|>3<|close|>argument<|sep|><|close|>call<|sep|>'
        '<|open|>call tool="search" index="2"<|sep|><|open|>json type="object"<|sep|>'
        f"{JSON}<|close|>json<|sep|>"
        "<|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|><|end_of_msg|>",
        [CALL, CALL],
    ),
    # openbmb/MiniCPM5, upstage/Solar-Open2, stepfun-ai/step3, Seed-OSS: as vLLM's tests have them
    "MiniCPM5": (
        f'So:\n<function name="search"><param name="query"><![CDATA[{XML_VALUE}]]></param>'
        '<param name="top_k">3</param></function>\nSo.\n',
        [TEXTS],
    ),
    "Solar": (
        f"So:<|tool_call:start|>search\n<|tool_arg:start|>query<|tool_arg:value|>{XML_VALUE}<|tool_arg:end|>\n"
        "<|tool_arg:start|>top_k<|tool_arg:value|>3<|tool_arg:end|>\n<|tool_call:end|>",
        [TEXTS],
    ),
    "Step3": (
        "<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜>search\n"
        '<steptml:invoke name="search">'
        f'<steptml:parameter name="query">{XML_VALUE}</steptml:parameter><steptml:parameter name="top_k">3'
        "</steptml:parameter></steptml:invoke><｜tool_call_end｜><｜tool_calls_end｜>",
        [TEXTS],
    ),
    "Seed-OSS": (f"<seed:tool_call>\n{FUNCTION}</seed:tool_call>", [TEXTS]),
    # Salesforce/xLAM-2: as vLLM's tests have it
    "xLAM": (f"So:\n```json\n[{NAMED}]\n```", [CALL]),
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


@pytest.mark.parametrize("form", [form for form in WRITTEN if form not in ("Llama", "xLAM")])
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
        ("<|START_ACTION|>[{}]<|END_ACTION|>", "Cohere"),
        ("<tool_calls>[]</tool_calls>", "Hunyuan, Jamba and MiniMax M1"),
        ("<|tool_call|> I search for it", "Granite 3 and Phi-4-mini"),
        ("<|tools_prefix|>[1]<|tools_suffix|>", "Apertus"),
        ("<|action_start|><|plugin|>port<|action_end|>", "InternLM"),
        (
            "<|tool_call_start|>[search('port')]<|tool_call_end|>",
            "LFM2 cannot be read: an argument has no name",
        ),
        ("<|tool_call_start|>[search(**{'query': 1})]<|tool_call_end|>", "an argument has no name"),
        ("<|tool_call_start|>[search(query=port)]<|tool_call_end|>", "a value is none that JSON could hold"),
        ("<|tool_call_start|>[search(query=f'{1}')]<|tool_call_end|>", "a value is none"),
        ("<|tool_call_start|>[search(query={1: 2})]<|tool_call_end|>", "a value is none"),
        ("<function_calls>import os</function_calls>", "OLMo 3 cannot be read: a statement in it is no call"),
        ("<function_calls>search(query='it's')</function_calls>", "it is not in Python's syntax"),
        ("<|python_start|>[1]<|python_end|>", "Llama 4 cannot be read: something in it is no call"),
        ("<|python_start|>f(a=1)(b=2)", "what is called has no name"),
        ("[search(query='Dan", "Python alone"),
        ('<|tool_call>call:search{query:<|"|>Dan}<tool_call|>', "Gemma 4"),
        ("<start_function_call>call:search{query:port city}<end_function_call>", "FunctionGemma"),
        (
            '<|open|>call tool="a" index="1"<|sep|><|open|>argument key="b" type="number"<|sep|>x y'
            "<|close|>argument<|sep|><|close|>call<|sep|>",
            "Kimi K3 cannot be read: a parameter that is no text is no JSON",
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
        "[Danzig (city)]",
        "[Danzig]",
        "[f(x) = 1]",
        "functools[0] is Python",
        "<|tool_call_start|>[]<|tool_call_end|>",
        '```json\n{"name": "Danzig"}\n```',
        "```python\nsearch(query='port')\n```",
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
        *(
            "<tool_calls>",
            "</tool_calls>",
            "<|START_ACTION|>",
            "<|END_ACTION|>",
            "<|tool_call|>",
            "functools[",
        ),
        *(
            "<|function_call|>",
            "<|tools_prefix|>",
            "<|tools_suffix|>",
            "<|action_start|>",
            "<|plugin|>",
            "a(b=1)",
        ),
        *(
            "<|action_end|>",
            "<|tool_call_start|>",
            "<|tool_call_end|>",
            "<|python_start|>",
            "<|python_end|>",
            "a(",
        ),
        *(
            "<function_calls>",
            "</function_calls>",
            "```tool_code\n",
            "<|tool_call>call:a{",
            "<tool_call|>",
            '<|"|>',
        ),
        *(
            "<start_function_call>call:a{",
            "<end_function_call>",
            "<escape>",
            '<|open|>call tool="a"<|sep|>',
            "b:",
        ),
        *(
            "<|close|>call<|sep|>",
            '<function name="a">',
            '<param name="b">',
            "</param>",
            "<|tool_call:start|>a",
        ),
        *("<|tool_call:end|>", "<|tool_arg:start|>b<|tool_arg:value|>", "<|tool_arg:end|>", "<tool_sep>"),
    ]
)
SIGNED = st.lists(SIGNS | st.text(max_size=3), max_size=12).map("".join)


MARKED_PYTHON = (
    "<|tool_call_start|>{}<|tool_call_end|>",
    "<|python_start|>{}",
    "<function_calls>{}</function_calls>",
)
HOSTILE = (
    *("[f(a=" + "[" * 50_000, "f(a=" + "(" * 300 + ")" * 300 + ")", "f(a=" + "-" * 50_000 + "1)"),
    *(
        "a" + ".a" * 40_000 + "(b=1)",
        "f" + "()" * 40_000,
        "f(a=" + "1+" * 40_000 + "1)",
        "f(a={" + "1:{" * 20_000,
    ),
    *("f(a=" + "9" * 50_000 + ")", "f(a=0x" + "f" * 50_000 + ")", "f(a='\0')", "f(a='\ud800')", "f(a=1e999)"),
    *("print(" * 150 + "f(a=1)" + ")" * 150, "f(a='" + "a" * 200_000 + "')", "f(a=lambda:0)", "f(a=b'')"),
    *(
        "f(a=(yield))",
        "f(a=[b for b in c])",
        "f(a=1, a=2)",
        "f(a=...)",
        "f(a=1j)",
        "__import__('os')",
        "f(a=g(b=1))",
    ),
)


@pytest.mark.parametrize("marks", MARKED_PYTHON)
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: repr(text[:20]))
def test_hostile_python_is_an_invalid_message(hostile: str, marks: str) -> None:
    does = action(marks.format(hostile))
    assert isinstance(does, Invalid) or does == ToolCalls((ToolCall("f", {"a": 1}),))


CODE = st.sampled_from(
    [
        *(
            "f",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "a=",
            "'",
            '"',
            ",",
            "\n",
            "\\",
            "\0",
            "-",
            "9" * 5000,
            "1e999",
            "lambda:",
        ),
        *(
            "print(",
            "true",
            "null",
            ".",
            "**",
            "*",
            "f(a=1)",
            "b'",
            ":",
            "#",
            ";",
            "import os",
            "\ud800",
            "yield",
            " ",
        ),
    ]
)


@given(
    st.lists(CODE | st.text(max_size=3), max_size=12).map("".join),
    st.sampled_from((*MARKED_PYTHON, "[f(a={}")),
)
def test_python_of_any_kind_is_calls_or_an_invalid_message(code: str, marks: str) -> None:
    does = action(marks.format(code))
    assert isinstance(does, Invalid | ToolCalls)
    if isinstance(does, ToolCalls):
        json.dumps([call.arguments for call in does.calls], allow_nan=False)


@given(
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name)),
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name)),
        st.deferred(lambda: JSON_VALUES | SIGNED),
        max_size=3,
    ),
)
def test_what_python_writes_of_arguments_is_read_again(name: str, arguments: dict[str, Any]) -> None:
    text = f"[{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})]"
    assert calls_in_python(text) == [ToolCall(name, arguments)]


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
    "Hunyuan A13B": '<tool_calls>[{{"name": "{}", "arguments": {}}}]</tool_calls>'.format,
    "Cohere": '<|START_ACTION|>[{{"tool_name": "{}", "parameters": {}}}]<|END_ACTION|>'.format,
    "Granite 3": '<|tool_call|>[{{"name": "{}", "arguments": {}}}]'.format,
    "Phi-4-mini": 'functools[{{"name": "{}", "arguments": {}}}]'.format,
    "GigaChat": '<|function_call|>{{"name": "{}", "arguments": {}}}'.format,
    "Apertus": '<|tools_prefix|>[{{"{}": {}}}]<|tools_suffix|>'.format,
    "InternLM": '<|action_start|><|plugin|>{{"name": "{}", "parameters": {}}}<|action_end|>'.format,
    "LFM2, JSON": '<|tool_call_start|>[{{"name": "{}", "arguments": {}}}]<|tool_call_end|>'.format,
    "a fence": '```json\n{{"name": "{}", "arguments": {}}}\n```'.format,
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


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (WRITTEN["Kimi K2"][0], ("functions.search:0", "functions.search:1")),
        (WRITTEN["Cohere"][0], ("0", "1")),
        (WRITTEN["Mistral v3"][0], ("9Ae3bDc2F",)),
        (WRITTEN["Mistral v11"][0], ()),  # which has one id for both
        (WRITTEN["Mistral v11"][0].replace("9Ae3bDc2F", "b", 1), ("b", "9Ae3bDc2F")),
        ('[TOOL_CALLS]open[ARGS]{"id": "7"}', ()),
        (WRITTEN["Hermes"][0], ()),
        ("none", ()),
    ],
)
def test_the_ids_of_calls_are_those_in_the_text(text: str, ids: tuple[str, ...]) -> None:
    assert ids_in(text) == ids


@pytest.mark.parametrize("form", ["Kimi K2", "Mistral v13", "Hermes", "gpt-oss", "LFM2"])
def test_calls_beside_a_text_that_shows_them_are_not_written_again(form: str) -> None:
    text = WRITTEN[form][0]
    beside = [{"function": {"name": "search", "arguments": JSON}}]
    assert said({"role": "assistant", "content": text, "tool_calls": beside}).text == text
